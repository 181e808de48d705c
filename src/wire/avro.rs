//! Owns what is the same for every subject: body ⇄ values, and how each kind of field is read and written.
//! Never trusts a length, an index or a text in the bytes; never lets a panic of the library out.
//! Invariant: a body that is cut short or has bytes left over is an error, whatever the library says.

use std::collections::BTreeMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use jiff::Timestamp;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

use super::{DecodeError, EncodeError, Subject, lint};
use crate::domain::command::{CommandAction, CommandStatus};
use crate::domain::event::{Action, EventId, OrderStatus, QualityVerdict, Severity};
use crate::domain::money::WIRE_DECIMALS;
use crate::domain::request::{Intent, OrderType, Side, TimeInForce};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};

/// 10^28: the first unscaled number that has more than 28 digits.
const UNSCALED_LIMIT: i128 = 10_i128.pow(28);

/// Writes a value by the subject's newest schema.
pub(crate) fn encode<T: Field>(subject: Subject, value: &T) -> Result<Vec<u8>, EncodeError> {
    subject
        .parsed()
        .writer
        .write_ser_to_vec(&Written(value))
        .map_err(|error| EncodeError { subject: subject.name(), why: error.to_string() })
}

/// Reads a body by the schema it was written with, resolved to the subject's newest schema.
pub(crate) fn decode<T: Field>(
    subject: Subject,
    body: &[u8],
    writer: &Schema,
) -> Result<T, DecodeError> {
    let mismatch = |why: String| DecodeError::Schema { subject: subject.name(), why };
    lint::readable(writer, subject.schema()).map_err(mismatch)?;
    let guarded = catch_unwind(AssertUnwindSafe(|| read(body, writer)));
    let value = guarded.unwrap_or_else(|_| Err("the Avro library gave up on it".into()));
    let value = value.map_err(DecodeError::Avro)?;
    let parsed = subject.parsed();
    let value = value
        .resolve_with_names(parsed.schema, parsed.resolved.get_names())
        .map_err(|error| mismatch(error.to_string()))?;
    T::read(value).map_err(|wrong| match wrong.field {
        Some((field, reason)) => DecodeError::Field { field, reason, why: wrong.why },
        None => mismatch(wrong.why),
    })
}

fn read(body: &[u8], writer: &Schema) -> Result<Value, String> {
    let mut bytes = Bytes { left: body, ran_out: false };
    let value = GenericDatumReader::builder(writer)
        .build()
        .and_then(|reader| reader.read_value(&mut bytes))
        .map_err(|e| e.to_string())?;
    if bytes.ran_out {
        Err("it is cut short".into())
    } else if !bytes.left.is_empty() {
        Err(format!("{} bytes are left over", bytes.left.len()))
    } else {
        Ok(value)
    }
}

/// Bytes that remember whether more was asked for than there is: at the end of its input the library
/// reads unions, booleans and strings as null instead of failing.
struct Bytes<'a> {
    left: &'a [u8],
    ran_out: bool,
}

impl Read for Bytes<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min(self.left.len());
        self.ran_out |= n < out.len();
        let (head, tail) = self.left.split_at(n);
        out[..n].copy_from_slice(head);
        self.left = tail;
        Ok(n)
    }
}

/// A value that is not what the domain takes; the outermost field it is in, once known.
pub(crate) struct Wrong {
    field: Option<(&'static str, &'static str)>,
    why: String,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self { field: None, why }
    }
}

fn unlike<T>(wanted: &str, value: &Value) -> Result<T, Wrong> {
    Err(format!("expected {wanted}, found {:?}", apache_avro::schema::SchemaKind::from(value))
        .into())
}

/// How one kind of field is read from a resolved value and written by a schema.
pub(crate) trait Field: Sized {
    fn read(value: Value) -> Result<Self, Wrong>;
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error>;
}

/// Lets serde write a field.
pub(crate) struct Written<'a, T>(pub(crate) &'a T);

impl<T: Field> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.write(out)
    }
}

/// The fields of a record, taken by name.
pub(crate) struct Record(Vec<(String, Value)>);

impl Record {
    pub(crate) fn of(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Record(fields) => Ok(Self(fields)),
            other => unlike("a record", &other),
        }
    }

    /// `reason` is `invalid_<name>`; a field of a nested record is reported as the field that holds it.
    pub(crate) fn take<T: Field>(
        &mut self,
        name: &'static str,
        reason: &'static str,
    ) -> Result<T, Wrong> {
        let found = self.0.iter_mut().find(|(n, _)| n == name);
        let Some((_, value)) = found else {
            return Err(format!("the schema has no field {name}").into());
        };
        T::read(std::mem::replace(value, Value::Null)).map_err(|wrong| {
            let why = match wrong.field {
                Some((inner, _)) => format!("{inner}: {}", wrong.why),
                None => wrong.why,
            };
            Wrong { field: Some((name, reason)), why }
        })
    }
}

/// Reads and writes a struct as the Avro record with the same field names. `name => Kind` takes the
/// field's value out of, or puts it into, a wrapper with one field.
macro_rules! record {
    ($ty:ty { $($name:ident $(=> $kind:path)?),+ $(,)? }) => {
        impl $crate::wire::avro::Field for $ty {
            fn read(value: apache_avro::types::Value) -> Result<Self, $crate::wire::avro::Wrong> {
                let mut record = $crate::wire::avro::Record::of(value)?;
                Ok(Self {
                    $($name: record!(@read record $name $(=> $kind)?)),+
                })
            }
            fn write<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut out = out.serialize_struct("", [$(stringify!($name)),+].len())?;
                $(record!(@write out self $name $(=> $kind)?);)+
                out.end()
            }
        }
    };
    (@read $record:ident $name:ident => $kind:path) => {{
        let $kind(inner) =
            $record.take(stringify!($name), concat!("invalid_", stringify!($name)))?;
        inner
    }};
    (@read $record:ident $name:ident) => {
        $record.take(stringify!($name), concat!("invalid_", stringify!($name)))?
    };
    (@write $out:ident $self:ident $name:ident => $kind:path) => {
        let wrapped = $kind($self.$name.clone());
        $out.serialize_field(stringify!($name), &$crate::wire::avro::Written(&wrapped))?
    };
    (@write $out:ident $self:ident $name:ident) => {
        $out.serialize_field(stringify!($name), &$crate::wire::avro::Written(&$self.$name))?
    };
}
pub(crate) use record;

/// A text that the wire always has and the domain may lack (a version, a key not given yet).
pub(crate) struct Required(pub(crate) Option<String>);

impl Field for Required {
    fn read(value: Value) -> Result<Self, Wrong> {
        String::read(value).map(|text| Self(Some(text)))
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) => out.serialize_str(text),
            None => Err(S::Error::custom("it is required")),
        }
    }
}

impl Field for String {
    fn read(value: Value) -> Result<Self, Wrong> {
        match value {
            // Postgres holds no NUL in text or JSON; one let in here would stop whoever writes it there.
            Value::String(text) if text.contains('\0') => Err(String::from("holds a NUL").into()),
            Value::String(text) => Ok(text),
            other => unlike("a string", &other),
        }
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self)
    }
}

macro_rules! number {
    ($ty:ty, $variant:ident, $put:ident) => {
        impl Field for $ty {
            fn read(value: Value) -> Result<Self, Wrong> {
                match value {
                    Value::$variant(number) => Ok(number),
                    other => unlike(stringify!($ty), &other),
                }
            }
            fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.$put(*self)
            }
        }
    };
}
number!(i32, Int, serialize_i32);
number!(i64, Long, serialize_i64);
number!(f64, Double, serialize_f64);

impl Field for Timestamp {
    fn read(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::TimestampMicros(us) => Timestamp::from_microsecond(us).map_err(|_| {
                format!("{us} µs is not a time between the years -9999 and 9999").into()
            }),
            other => unlike("timestamp-micros", &other),
        }
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(self.as_microsecond())
    }
}

/// A decimal of the wire: exact, or an error when it is written.
impl Field for Decimal {
    fn read(value: Value) -> Result<Self, Wrong> {
        let Value::Decimal(decimal) = value else { return unlike("a decimal", &value) };
        let bytes = <Vec<u8>>::try_from(decimal).map_err(|e| e.to_string())?;
        let mut wide = [if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xFF } else { 0 }; 16];
        let start = wide.len().checked_sub(bytes.len()).ok_or_else(|| String::from("too long"))?;
        wide[start..].copy_from_slice(&bytes);
        Decimal::try_from_i128_with_scale(i128::from_be_bytes(wide), WIRE_DECIMALS)
            .map(|d| d.normalize())
            .map_err(|e| e.to_string().into())
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let bytes = unscaled(*self).ok_or_else(|| {
            S::Error::custom(format!("{self} does not fit 28 digits with 9 decimals exactly"))
        })?;
        out.serialize_bytes(&bytes.to_be_bytes()[4..])
    }
}

/// The number times 10^9, if that is a whole number of at most 28 digits.
fn unscaled(number: Decimal) -> Option<i128> {
    let number = number.normalize();
    let shift = WIRE_DECIMALS.checked_sub(number.scale())?;
    let unscaled = number.mantissa().checked_mul(10_i128.pow(shift))?;
    (unscaled.abs() < UNSCALED_LIMIT).then_some(unscaled)
}

/// A number that only informs: rounded to 9 decimals, and the largest of the wire if it is larger still.
pub(crate) fn informative(number: Decimal) -> Decimal {
    let most = Decimal::from_i128_with_scale(UNSCALED_LIMIT - 1, WIRE_DECIMALS);
    number
        .round_dp_with_strategy(WIRE_DECIMALS, RoundingStrategy::MidpointNearestEven)
        .clamp(-most, most)
}

impl<T: Field> Field for Option<T> {
    fn read(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Union(_, inner) if *inner == Value::Null => Ok(None),
            Value::Union(_, inner) => T::read(*inner).map(Some),
            other => unlike("a union", &other),
        }
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(inner) => out.serialize_some(&Written(inner)),
            None => out.serialize_none(),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Array(items) => items.into_iter().map(T::read).collect(),
            other => unlike("an array", &other),
        }
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut seq = out.serialize_seq(Some(self.len()))?;
        for item in self {
            seq.serialize_element(&Written(item))?;
        }
        seq.end()
    }
}

impl Field for BTreeMap<String, String> {
    fn read(value: Value) -> Result<Self, Wrong> {
        let Value::Map(entries) = value else { return unlike("a map", &value) };
        entries
            .into_iter()
            .map(|(name, text)| Ok((String::read(Value::String(name))?, String::read(text)?)))
            .collect()
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.len()))?;
        for (name, text) in self {
            map.serialize_entry(name, text)?;
        }
        map.end()
    }
}

/// A JSON object, as text; its fields are sorted when it is written.
impl Field for serde_json::Value {
    fn read(value: Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let json: Self = serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))?;
        if !json.is_object() {
            Err(String::from("not the text of a JSON object").into())
        } else if has_nul(&json) {
            Err(String::from("holds a NUL").into())
        } else {
            Ok(json)
        }
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if !self.is_object() {
            return Err(S::Error::custom("it must be a JSON object"));
        }
        // Sorted here and not left to the map's own order, which a crate's feature can change.
        let text = serde_json_canonicalizer::to_string(self).map_err(S::Error::custom)?;
        out.serialize_str(&text)
    }
}

fn has_nul(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(has_nul),
        serde_json::Value::Object(map) => {
            map.iter().any(|(name, inner)| name.contains('\0') || has_nul(inner))
        }
        _ => false,
    }
}

macro_rules! word {
    ($($ty:ty),+) => {$(
        impl Field for $ty {
            fn read(value: Value) -> Result<Self, Wrong> {
                let Value::Enum(_, symbol) = value else { return unlike("an enum", &value) };
                let word: StrDeserializer<'_, WordError> = symbol.as_str().into_deserializer();
                <$ty>::deserialize(word).map_err(|e| e.to_string().into())
            }
            fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                self.serialize(out)
            }
        }
    )+};
}
word!(
    Side,
    OrderType,
    TimeInForce,
    Intent,
    Action,
    QualityVerdict,
    Severity,
    OrderStatus,
    CommandAction,
    CommandStatus
);

macro_rules! text {
    ($($ty:ty),+) => {$(
        impl Field for $ty {
            fn read(value: Value) -> Result<Self, Wrong> {
                <$ty>::new(&String::read(value)?).map_err(|e| e.to_string().into())
            }
            fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(self)
            }
        }
    )+};
}
text!(Symbol, Account, TraceId, IdempotencyKey);

impl Field for EventId {
    fn read(value: Value) -> Result<Self, Wrong> {
        String::read(value).map(EventId)
    }
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}
