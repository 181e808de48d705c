//! Owns reading YAML (JSON is a part of it) into a tree whose every node knows its place in the text.
//! Never takes what two readers may read differently: duplicate keys, anchors, tags, a second document.
//! Invariant: a scalar keeps the text that was written, so no number passes through a float.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::violation::{Place, Violations};

/// A node and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    /// The text as written; `quoted` texts are never numbers' spelling mistakes, but may spell numbers.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

impl Value {
    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a section",
        }
    }
}

/// Deepest nesting of a policy file; more is refused.
const DEPTH_MAX: usize = 16;
/// Most bytes of a policy file.
const BYTES_MAX: usize = 1 << 20;

/// The tree of the one document in `text`; what is wrong is added to `found`. None if there is none.
pub(super) fn read(text: &str, found: &mut Violations) -> Option<Node> {
    if text.len() > BYTES_MAX {
        found.add(Place::START, "", format!("the file is larger than {BYTES_MAX} bytes"));
        return None;
    }
    let mut reader = Reader { events: Parser::new_from_str(text), found };
    match reader.document() {
        Ok(Some(node)) if node.value != Value::Null => Some(node),
        // A file that was cut short must not read as one that limits nothing (F43).
        Ok(_) => {
            found.add(Place::START, "", "nothing is written here; write {} if that is meant");
            None
        }
        Err(Stop) => None,
    }
}

/// The text cannot be read further; the violation is recorded.
struct Stop;

struct Reader<'f, 'v, P> {
    events: P,
    found: &'f mut Violations<'v>,
}

fn place(span: &Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place { line: span.start.line(), column: span.start.col() + 1, width: width.max(1) }
}

impl<'t, P> Reader<'_, '_, P>
where
    P: Iterator<Item = Result<(Event<'t>, Span), serde_saphyr::granit_parser::ScanError>>,
{
    /// The next event that is not a comment or the stream's own.
    fn next(&mut self) -> Result<Option<(Event<'t>, Place)>, Stop> {
        for event in self.events.by_ref() {
            match event {
                Ok((Event::Comment(..) | Event::StreamStart | Event::DocumentStart(..), _)) => {}
                Ok((Event::StreamEnd, _)) => return Ok(None),
                Ok((event, span)) => return Ok(Some((event, place(&span)))),
                Err(error) => {
                    let at = error.marker();
                    let place = Place { line: at.line(), column: at.col() + 1, width: 1 };
                    self.found.add(place, "", format!("this is not YAML: {}", error.info()));
                    return Err(Stop);
                }
            }
        }
        Ok(None)
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let root = match self.next()? {
            None | Some((Event::DocumentEnd, _)) => None,
            Some((event, at)) => Some(self.node(event, at, 0)?),
        };
        while let Some((event, at)) = self.next()? {
            if !matches!(event, Event::DocumentEnd) {
                self.found.add(at, "", "one document is allowed, here starts a second");
                return Err(Stop);
            }
        }
        Ok(root)
    }

    fn node(&mut self, event: Event<'t>, at: Place, depth: usize) -> Result<Node, Stop> {
        if depth > DEPTH_MAX {
            self.found.add(at, "", format!("nested deeper than {DEPTH_MAX}"));
            return Err(Stop);
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (1, false),
        };
        if anchor != 0 || tag {
            self.found.add(
                at,
                "",
                "anchors, aliases and tags are not used in policies: write it out",
            );
        }
        let value = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => Value::Null,
        };
        Ok(Node { place: at, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, at, depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, at, depth + 1)?;
            let Some((event, value_at)) = self.next()? else { break };
            let value = self.node(event, value_at, depth + 1)?;
            let Value::Scalar { text, .. } = key.value else {
                self.found.add(
                    at,
                    "",
                    format!("a key must be a single text, found {}", key.value.kind()),
                );
                continue;
            };
            match entries.iter_mut().find(|(k, _)| k.text == text) {
                Some((_, first)) => {
                    self.found.add(at, &text, "this key is given twice");
                    read_on(first, value);
                }
                None => entries.push((Key { text, place: at }, value)),
            }
        }
        Ok(Value::Map(entries))
    }
}

/// Puts what only the second of two equal sections says into the first: the file is refused, but what
/// else is wrong with it is told at once.
fn read_on(first: &mut Node, second: Node) {
    if let (Value::Map(entries), Value::Map(more)) = (&mut first.value, second.value) {
        for (key, node) in more {
            match entries.iter_mut().find(|(k, _)| k.text == key.text) {
                Some((_, known)) => read_on(known, node),
                None => entries.push((key, node)),
            }
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text: text.to_string(), quoted }
}
