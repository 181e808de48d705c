//! Owns cutting a JSON object into its members' texts, so that a part is parsed once, or known without parsing.
//! Never checks the members themselves: whoever parses a slice does.

/// The members of the object that `text` is, in order: key and the value's text.
pub fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let mut at = Cursor { text, bytes: text.as_bytes(), at: 0 };
    let mut members = Vec::with_capacity(8);
    at.expect(b'{')?;
    at.space();
    if at.peek() == Some(b'}') {
        at.at += 1;
    } else {
        loop {
            at.space();
            let key = at.string()?;
            let key = serde_json::from_str::<String>(key).map_err(|e| e.to_string())?;
            at.expect(b':')?;
            at.space();
            let value = at.value()?;
            if members.iter().any(|(k, _)| *k == key) {
                return Err(format!("{key:?} is given twice"));
            }
            members.push((key, value));
            at.space();
            match at.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(at.wrong("a comma or }")),
            }
        }
    }
    at.space();
    if at.peek().is_some() { Err(at.wrong("the end of the line")) } else { Ok(members) }
}

struct Cursor<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }
    fn wrong(&self, wanted: &str) -> String {
        format!("not a JSON object: column {} should be {wanted}", self.at.max(1))
    }
    fn expect(&mut self, byte: u8) -> Result<(), String> {
        self.space();
        match self.next() {
            Some(b) if b == byte => Ok(()),
            _ => Err(self.wrong(&(byte as char).to_string())),
        }
    }
    fn string(&mut self) -> Result<&'t str, String> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.next() {
                Some(b'"') => return Ok(&self.text[start..self.at]),
                Some(b'\\') => drop(self.next()),
                Some(_) => {}
                None => return Err(self.wrong("the end of a text")),
            }
        }
    }
    /// The text of one value: up to the comma or bracket that ends it.
    fn value(&mut self) -> Result<&'t str, String> {
        let start = self.at;
        let mut depth = 0_u32;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => depth -= 1,
                b',' | b'}' | b']' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let value = self.text[start..self.at].trim_end();
        if value.is_empty() || depth > 0 { Err(self.wrong("a value")) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_cut_at_their_own_commas_and_brackets() {
        let text = r#" { "a" : [1, {"b": "},]\""}], "c\u0064":-1.50 ,"e": "é" } "#;
        let cut = members(text).unwrap();
        let cut: Vec<(&str, &str)> = cut.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(cut, [("a", r#"[1, {"b": "},]\""}]"#), ("cd", "-1.50"), ("e", "\"é\"")]);
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1} x"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":[1}"#,
            r#"{"a":"b"#,
            "\\",
            r#"{"\"#,
        ] {
            assert!(members(text).is_err(), "{text}");
        }
    }
}
