//! `noctus topics dump`: every record of a topic of ours, decoded, one JSON object a line.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::gate::letter::Letter;
use crate::kafka::admin::topic;
use crate::kafka::offsets::{self, Ends};
use crate::kafka::record::Record;
use crate::kafka::registry::RegistryError;
use crate::kafka::scan::scan;
use crate::ops::decoded::Decoder;
use crate::ops::stretch::{Bound, Part};
use crate::ops::table::printable;
use crate::ops::{Exit, Global};
use crate::owed::{DEAD_LETTERS, topic_named};
use crate::runtime::clock;
use crate::runtime::config::Config;
use crate::wire::Subject;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// A topic of ours, by its logical name, and one partition of it if not all
    #[arg(value_name = "TOPIC[:PARTITION]")]
    part: Part,
    /// From this offset, or from a time (RFC 3339), a day or so long ago (2h) on
    #[arg(long, value_name = "OFFSET|TIME")]
    from: Option<Bound>,
    /// Up to this offset or time, and without it; the end as it is now, unless given
    #[arg(long, value_name = "OFFSET|TIME")]
    to: Option<Bound>,
    /// At most so many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

const HELP: &str = "\
One JSON object a line: topic, partition, offset, timestamp, key, headers and value. Decimals are texts. What cannot be
decoded is in its place, with error and hex instead of value. Dead letters are decoded as what they were.
Partition by partition, each in order; times are Kafka's timestamps. Nothing is committed, no group is joined.

Examples:
  noctus topics dump decisions --from 2026-11-01 --to 2026-12-01 > november.jsonl
  noctus topics dump exec-events --from 2h | jq -r .value.status
  noctus topics dump order-requests:3 --from 1200 --limit 1

Exit codes: 0 all is decoded, 1 something is not, 2 no such topic or partition, 69 Kafka or the registry is away.";

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let Some(logical) = topic_named(&args.part.topic) else {
        let known = Subject::ALL.map(Subject::topic).join(", ");
        eprintln!(
            "noctus: {:?} is no topic of ours; they are {known}, {DEAD_LETTERS}",
            args.part.topic
        );
        return Ok(Exit::Usage);
    };
    let topic = topic(&config, logical).await?;
    let mut ends = offsets::ends(&config, &topic.name).await?;
    if let Some(wanted) = args.part.partition {
        ends.retain(|partition, _| *partition == wanted);
        if ends.is_empty() {
            eprintln!("noctus: {} has no partition {wanted}", topic.name);
            return Ok(Exit::Usage);
        }
    }
    let decoder = Decoder::new(&config)?;
    let (mut printed, mut undecoded) = (0_u64, 0_u64);
    let most = args.limit.unwrap_or(u64::MAX);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    for (partition, stretch) in stretches(&config, &topic.name, &ends, &args).await? {
        if printed == most {
            break;
        }
        let mut records = scan(&config, topic.clone(), [(partition, stretch)].into());
        while printed < most
            && let Some(record) = records.recv().await
        {
            let (line, is_decoded) = told(&decoder, &record?).await?;
            printed += 1;
            undecoded += u64::from(!is_decoded);
            match writeln!(out, "{line}") {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Ok);
                }
                written => written?,
            }
        }
    }
    out.flush()?;
    match (printed, undecoded) {
        (0, _) => eprintln!("no records"),
        (_, 0) => {}
        _ => eprintln!("{undecoded} of {printed} record(s) cannot be decoded"),
    }
    Ok(if undecoded == 0 { Exit::Ok } else { Exit::Findings })
}

/// The offsets that are meant, by partition, as far as Kafka has them.
async fn stretches(
    config: &Config,
    topic: &str,
    ends: &BTreeMap<i32, Ends>,
    args: &Args,
) -> anyhow::Result<BTreeMap<i32, Range<i64>>> {
    let mut stretches: BTreeMap<i32, Range<i64>> =
        ends.iter().map(|(partition, ends)| (*partition, ends.low..ends.high)).collect();
    for (bound, is_start) in [(args.from, true), (args.to, false)] {
        let Some(bound) = bound else { continue };
        let places: BTreeMap<i32, i64> = match bound {
            Bound::Offset(offset) => ends.keys().map(|partition| (*partition, offset)).collect(),
            Bound::Moment(moment) => {
                let time = moment.time(clock::now()).context("too long ago")?;
                offsets::at_time(config, topic, ends, time).await?
            }
        };
        for (partition, stretch) in &mut stretches {
            let Some(place) = places.get(partition) else { continue };
            match is_start {
                true => stretch.start = stretch.start.max(*place),
                false => stretch.end = stretch.end.min(*place),
            }
        }
    }
    Ok(stretches)
}

/// A record's line, and whether its value is decoded. No value at all is one that is decoded: null.
async fn told(decoder: &Decoder, record: &Record) -> Result<(Value, bool), RegistryError> {
    let header =
        |(name, value): &(String, Option<Vec<u8>>)| json!([name, value.as_deref().map(printable)]);
    let mut line = json!({
        "topic": &*record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": record.key.as_deref().map(printable),
        "headers": record.headers.iter().map(header).collect::<Vec<_>>(),
    });
    let letter = (record.logical == DEAD_LETTERS).then(|| Letter::read(record)).flatten();
    let origin = letter.as_ref().map_or(&*record.topic, |letter| &letter.topic);
    let decoded = match &record.value {
        None => Ok(Value::Null),
        Some(value) => decoder.message(origin, value).await?,
    };
    let is_decoded = decoded.is_ok();
    match decoded {
        Ok(value) => line["value"] = value,
        Err(why) => {
            line["error"] = why.into();
            line["hex"] = json!(record.value.as_ref().map(hex::encode));
        }
    }
    Ok((line, is_decoded))
}
