//! Owns what two schemas must agree on beyond what Avro and registries ask: units, scales, closed enums.
//! Never reads a message. Invariant: what [`readable`] lets through means the same to writer and reader.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, InnerDecimalSchema, Name, RecordSchema, SchemaKind};

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

/// Fields whose unknown symbol must never be read as another one: an order would change its meaning.
const CLOSED_FIELDS: [&str; 6] =
    ["side", "order_type", "time_in_force", "intent", "action", "verdict"];

/// One schema and what to call it in a finding, e.g. `version 2` or `schemas/alert.avsc`.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// What to call it.
    pub label: String,
    /// The schema.
    pub schema: Schema,
}

/// Something that a registry lets through and that changes what a message means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which version, or which two.
    pub between: String,
    /// The field, as a path; empty for the record itself.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.between, self.place, self.what)
    }
}

/// Lints every version by itself and every pair of them, in the order given (oldest first).
pub fn lint(versions: &[Labelled]) -> Vec<Finding> {
    let mut found = Vec::new();
    for version in versions {
        let mut report = Report { between: version.label.clone(), found: &mut found };
        match Names::of(&version.schema) {
            Ok(_) => alone(&version.schema, "", "", &mut report),
            Err(why) => report.add("", why),
        }
    }
    for (at, old) in versions.iter().enumerate() {
        for new in &versions[at + 1..] {
            let between = format!("{} → {}", old.label, new.label);
            let mut report = Report { between, found: &mut found };
            if let (Ok(o), Ok(n)) = (Names::of(&old.schema), Names::of(&new.schema)) {
                pair((&old.schema, &o), (&new.schema, &n), "", &mut report);
            }
        }
    }
    found
}

struct Report<'a> {
    between: String,
    found: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, place: &str, what: impl Into<String>) {
        let place = if place.is_empty() { "the record" } else { place };
        let finding =
            Finding { between: self.between.clone(), place: place.into(), what: what.into() };
        self.found.push(finding);
    }
}

fn alone(schema: &Schema, place: &str, field: &str, report: &mut Report<'_>) {
    if schema.aliases().is_some_and(|aliases| !aliases.is_empty()) {
        report.add(place, "has an alias: names are never changed");
    }
    match schema {
        Schema::Record(record) => {
            for f in &record.fields {
                let inner = join(place, &f.name);
                if !f.aliases.is_empty() {
                    report.add(&inner, "has an alias: names are never changed");
                }
                alone(&f.schema, &inner, &f.name, report);
            }
        }
        Schema::Enum(e) if e.default.is_some() && CLOSED_FIELDS.contains(&field) => {
            report.add(place, "has an enum default: an unknown symbol would become another order");
        }
        Schema::Decimal(d) => {
            let fixed = matches!(&d.inner, InnerDecimalSchema::Fixed(f) if f.size == 12);
            if !fixed || d.precision != 28 || d.scale != 9 {
                report.add(place, format!("is {}, not fixed(12) decimal(28,9)", exactly(schema)));
            }
        }
        Schema::Union(union) => {
            union.variants().iter().for_each(|v| alone(v, place, field, report));
        }
        Schema::Array(array) => alone(&array.items, &format!("{place}[]"), field, report),
        Schema::Map(map) => alone(&map.types, &format!("{place}{{}}"), field, report),
        time if is_time(time) && !matches!(time, Schema::TimestampMicros) => {
            report.add(place, format!("is {}, not timestamp-micros", exactly(time)));
        }
        _ => {}
    }
}

type Side<'s, 'n> = (&'s Schema, &'n Names<'s>);

fn pair<'s>(old: Side<'s, '_>, new: Side<'s, '_>, place: &str, report: &mut Report<'_>) {
    match (old.1.meant(old.0), new.1.meant(new.0)) {
        (Schema::Record(a), Schema::Record(b)) => {
            names(&a.name, &b.name, place, report);
            for f in &a.fields {
                if let Some(&at) = b.lookup.get(&f.name) {
                    let inner = join(place, &f.name);
                    pair((&f.schema, old.1), (&b.fields[at].schema, new.1), &inner, report);
                }
            }
            renamed((a, old.1), (b, new.1), place, report);
        }
        (Schema::Enum(a), Schema::Enum(b)) => {
            names(&a.name, &b.name, place, report);
            symbols(a, b, place, report);
        }
        (Schema::Array(a), Schema::Array(b)) => {
            pair((&a.items, old.1), (&b.items, new.1), &format!("{place}[]"), report);
        }
        (Schema::Map(a), Schema::Map(b)) => {
            pair((&a.types, old.1), (&b.types, new.1), &format!("{place}{{}}"), report);
        }
        (a, b) => match (branch(a), branch(b)) {
            (Some(x), Some(y)) if !std::ptr::eq(x, a) || !std::ptr::eq(y, b) => {
                pair((x, old.1), (y, new.1), place, report);
            }
            _ if exactly(a) != exactly(b) => {
                report.add(place, format!("{} became {}", exactly(a), exactly(b)));
            }
            _ => {}
        },
    }
}

/// The one branch of `["null", x]`, and anything that is no union; none for a real union.
fn branch(schema: &Schema) -> Option<&Schema> {
    let Schema::Union(union) = schema else { return Some(schema) };
    let mut rest = union.variants().iter().filter(|v| !matches!(v, Schema::Null));
    match (rest.next(), rest.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn names(old: &Name, new: &Name, place: &str, report: &mut Report<'_>) {
    if old.name() != new.name() || old.namespace() != new.namespace() {
        report.add(place, format!("{old} was renamed to {new}"));
    }
}

fn symbols(old: &EnumSchema, new: &EnumSchema, place: &str, report: &mut Report<'_>) {
    let read_as = |by: &EnumSchema| match &by.default {
        Some(word) => format!("readers that lack it read {word}"),
        None => "readers that lack it fail".into(),
    };
    for added in new.symbols.iter().filter(|s| !old.symbols.contains(s)) {
        report.add(place, format!("symbol {added} was added: {}", read_as(old)));
    }
    for gone in old.symbols.iter().filter(|s| !new.symbols.contains(s)) {
        report.add(place, format!("symbol {gone} was removed: {}", read_as(new)));
    }
    if old.default != new.default {
        let word = |d: &Option<String>| d.clone().unwrap_or_else(|| "none".into());
        let (from, to) = (word(&old.default), word(&new.default));
        report.add(place, format!("the default symbol changed from {from} to {to}"));
    }
}

/// A field that went away while one of the same kind came: to a registry two optional fields, to a
/// consumer a renamed one that is suddenly always absent.
fn renamed<'s>(
    old: (&'s RecordSchema, &Names<'s>),
    new: (&'s RecordSchema, &Names<'s>),
    place: &str,
    report: &mut Report<'_>,
) {
    let kind = |schema: &'s Schema, names: &Names<'s>| {
        branch(schema).map(|only| exactly(names.meant(only)))
    };
    for gone in old.0.fields.iter().filter(|f| !new.0.lookup.contains_key(&f.name)) {
        let came = new.0.fields.iter().find(|f| {
            !old.0.lookup.contains_key(&f.name)
                && kind(&f.schema, new.1) == kind(&gone.schema, old.1)
        });
        let place = join(place, &gone.name);
        match came {
            Some(came) => report.add(&place, format!("looks renamed to {}", came.name)),
            None => report.add(&place, "was removed"),
        }
    }
}

fn is_time(schema: &Schema) -> bool {
    use Schema::*;
    matches!(
        schema,
        TimestampMillis
            | TimestampMicros
            | TimestampNanos
            | LocalTimestampMillis
            | LocalTimestampMicros
            | LocalTimestampNanos
    )
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.into() } else { format!("{place}.{name}") }
}

/// A type in words exact enough that a change of unit, scale or precision shows.
fn exactly(schema: &Schema) -> String {
    match schema {
        Schema::Decimal(d) => {
            let inner = match &d.inner {
                InnerDecimalSchema::Fixed(fixed) => format!("fixed({})", fixed.size),
                InnerDecimalSchema::Bytes => "bytes".into(),
            };
            format!("{inner} decimal({},{})", d.precision, d.scale)
        }
        Schema::Fixed(fixed) => format!("fixed({})", fixed.size),
        Schema::Record(r) => format!("record {}", r.name.name()),
        Schema::Enum(e) => format!("enum {}", e.name.name()),
        Schema::Union(union) => {
            let kinds: Vec<String> = union.variants().iter().map(exactly).collect();
            format!("union of {}", kinds.join(", "))
        }
        Schema::TimestampMillis => "timestamp-millis".into(),
        Schema::TimestampMicros => "timestamp-micros".into(),
        Schema::TimestampNanos => "timestamp-nanos".into(),
        other => format!("{:?}", SchemaKind::from(other)).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Subject;

    fn labelled(label: &str, text: &str) -> Labelled {
        Labelled { label: label.into(), schema: Schema::parse_str(text).unwrap() }
    }

    fn findings(change: impl Fn(String) -> String) -> Vec<String> {
        let old = Subject::OrderRequest.versions()[1];
        let new = change(old.to_string());
        assert_ne!(old, new, "the change changes something");
        let found = lint(&[labelled("old", old), labelled("new", &new)]);
        found.iter().map(|f| f.to_string()).collect()
    }

    #[test]
    fn our_own_schemas_have_no_finding() {
        for subject in Subject::ALL {
            let versions: Vec<Labelled> =
                subject.versions().iter().map(|text| labelled("local", text)).collect();
            assert_eq!(lint(&versions), vec![], "{subject:?}");
        }
    }

    #[test]
    fn a_changed_unit_or_scale_is_found() {
        let found = findings(|s| s.replacen("timestamp-micros", "timestamp-millis", 1));
        assert_eq!(
            found,
            [
                "new: requested_at: is timestamp-millis, not timestamp-micros",
                "old → new: requested_at: timestamp-micros became timestamp-millis",
            ]
        );
        let found = findings(|s| s.replace("\"scale\": 9", "\"scale\": 6"));
        assert!(found.contains(
            &"old → new: qty: fixed(12) decimal(28,9) became fixed(12) decimal(28,6)".to_string()
        ));
        assert!(found.iter().any(|f| f.contains("take_profit")), "references too: {found:?}");
        let found = findings(|s| s.replacen(", \"logicalType\": \"timestamp-micros\"", "", 1));
        assert_eq!(found, ["old → new: requested_at: timestamp-micros became long"]);
    }

    #[test]
    fn an_enum_default_on_side_or_type_is_found() {
        for field in ["SELL", "STOP_LIMIT"] {
            let found = findings(|s| {
                let list = s.lines().find(|l| l.contains(field)).unwrap().trim().to_string();
                let first = list.split('"').nth(3).unwrap().to_string();
                s.replace(&list, &format!("{list} \"default\": \"{first}\","))
            });
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].contains("has an enum default"), "{found:?}");
            assert!(found[1].contains("default symbol changed from none"), "{found:?}");
        }
    }

    #[test]
    fn an_added_symbol_a_rename_and_an_alias_are_found() {
        let found = findings(|s| s.replace("\"DAY\"]", "\"DAY\", \"GTD\"]"));
        assert_eq!(
            found,
            ["old → new: time_in_force: symbol GTD was added: readers that lack it fail"]
        );
        let found = findings(|s| s.replace("\"stop_loss\"", "\"stop_loss_price\""));
        assert_eq!(found, ["old → new: stop_loss: looks renamed to stop_loss_price"]);
        let found = findings(|s| {
            s.replace("\"name\": \"stop_loss\",", "\"name\": \"sl\", \"aliases\": [\"stop_loss\"],")
        });
        assert!(found.contains(&"new: sl: has an alias: names are never changed".to_string()));
    }
}
