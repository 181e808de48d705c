//! PURE. Owns which fields of two JSON objects differ, by path.

use serde::Serialize;
use serde_json::Value;

use super::Short;

/// A field that is not the same on both sides; absent on a side that does not have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Names from the outside in, e.g. `decision.action`.
    pub field: String,
    /// What the left side has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Value>,
    /// What the right side has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Value>,
}

/// Every field that differs, in the order of names. Objects are looked into, lists are compared whole.
pub fn differing(left: &Value, right: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk("", Some(left), Some(right), &mut found);
    found
}

fn walk(path: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<Field>) {
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (left, right) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&inner, a.get(name), b.get(name), found);
        }
        return;
    }
    let are_same = match (left, right) {
        (Some(a), Some(b)) => Short::of_json(a) == Short::of_json(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    if !are_same {
        let (left, right) = (left.cloned(), right.cloned());
        found.push(Field { field: path.to_string(), left, right });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_from_the_outside_in() {
        let left = json!({"a": 1, "b": {"c": [1, 2], "d": null}, "e": 2.0, "same": {"x": 1.0}});
        let right = json!({"a": 2, "b": {"c": [2, 1]}, "e": "2", "same": {"x": 1}});
        let field = |field: &str, left: Option<Value>, right: Option<Value>| Field {
            field: field.into(),
            left,
            right,
        };
        assert_eq!(
            differing(&left, &right),
            [
                field("a", Some(json!(1)), Some(json!(2))),
                field("b.c", Some(json!([1, 2])), Some(json!([2, 1]))),
                field("b.d", Some(Value::Null), None),
                field("e", Some(json!(2.0)), Some(json!("2"))),
            ]
        );
        assert_eq!(differing(&left, &left), []);
    }
}
