//! Owns what two schemas must agree on beyond what Avro and registries ask: units, scales, closed enums.
//! Never reads a message. Invariant: what [`readable`] lets through means the same to writer and reader.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, SchemaKind};

/// The named types of one schema, by their short names.
struct Names<'s>(HashMap<&'s str, &'s Schema>);

impl<'s> Names<'s> {
    /// Collects them; a type that holds itself is refused, because a body could nest it without end.
    fn of(schema: &'s Schema) -> Result<Self, String> {
        let mut names = Self(HashMap::new());
        names.walk(schema, &mut Vec::new())?;
        Ok(names)
    }

    fn walk(&mut self, schema: &'s Schema, open: &mut Vec<&'s str>) -> Result<(), String> {
        if let Schema::Ref { name } = schema {
            return match open.contains(&name.name()) {
                true => Err(format!("{} holds itself", name.name())),
                false => Ok(()),
            };
        }
        if let Some(name) = schema.name() {
            self.0.entry(name.name()).or_insert(schema);
        }
        match schema {
            Schema::Record(record) => {
                open.push(record.name.name());
                for field in &record.fields {
                    self.walk(&field.schema, open)?;
                }
                open.pop();
            }
            Schema::Array(array) => self.walk(&array.items, open)?,
            Schema::Map(map) => self.walk(&map.types, open)?,
            Schema::Union(union) => {
                for variant in union.variants() {
                    self.walk(variant, open)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn meant(&self, schema: &'s Schema) -> &'s Schema {
        match schema {
            Schema::Ref { name } => self.0.get(name.name()).copied().unwrap_or(schema),
            other => other,
        }
    }
}

/// Whether bytes written by `writer` mean the same when they are read as `reader`. The Avro library
/// resolves a decimal of another scale, or a plain long as a time, without a word.
pub fn readable(writer: &Schema, reader: &Schema) -> Result<(), String> {
    if std::ptr::eq(writer, reader) {
        return Ok(());
    }
    let (w, r) = (Names::of(writer)?, Names::of(reader)?);
    let same = |a: &Name, b: &Name| a.name() == b.name();
    if let (Schema::Record(a), Schema::Record(b)) = (writer, reader)
        && !same(&a.name, &b.name)
    {
        return Err(format!("it is a {}", a.name.name()));
    }
    means(writer, &w, reader, &r).map_err(|(place, why)| format!("{place}: {why}"))
}

type Difference = (String, String);

fn means<'s>(
    writer: &'s Schema,
    w: &Names<'s>,
    reader: &'s Schema,
    r: &Names<'s>,
) -> Result<(), Difference> {
    match (w.meant(writer), r.meant(reader)) {
        (Schema::Record(a), Schema::Record(b)) => fields(a, w, b, r),
        (Schema::Array(a), Schema::Array(b)) => means(&a.items, w, &b.items, r),
        (Schema::Map(a), Schema::Map(b)) => means(&a.types, w, &b.types, r),
        (Schema::Union(a), _) => {
            let mut variants = a.variants().iter().filter(|v| !matches!(v, Schema::Null));
            variants.try_for_each(|v| means(v, w, reader, r))
        }
        (_, Schema::Union(b)) => {
            let mut last = Err((String::new(), "no branch of the union takes it".into()));
            for variant in b.variants().iter().filter(|v| !matches!(v, Schema::Null)) {
                last = means(writer, w, variant, r);
                if last.is_ok() {
                    break;
                }
            }
            last
        }
        (a, b) if told(a) == told(b) => Ok(()),
        (a, b) => Err((String::new(), format!("{} is not {}", told(a), told(b)))),
    }
}

fn fields<'s>(
    writer: &'s RecordSchema,
    w: &Names<'s>,
    reader: &'s RecordSchema,
    r: &Names<'s>,
) -> Result<(), Difference> {
    for field in &reader.fields {
        let Some(&at) = writer.lookup.get(&field.name) else { continue };
        means(&writer.fields[at].schema, w, &field.schema, r).map_err(|(place, why)| {
            let place = if place.is_empty() { String::new() } else { format!(".{place}") };
            (format!("{}{place}", field.name), why)
        })?;
    }
    Ok(())
}

/// What a leaf means, as far as the library would confuse it; kinds it resolves rightly look alike.
fn told(schema: &Schema) -> String {
    match schema {
        Schema::Decimal(d) => format!("decimal with {} decimals", d.scale),
        Schema::Int | Schema::Long | Schema::Float | Schema::Double => "a number".into(),
        Schema::String | Schema::Bytes => "a text".into(),
        other => format!("{:?}", SchemaKind::from(other)),
    }
}
