//! `noctus rewind`: read an input again, or go past what is lost. Postgres holds the positions; Kafka's group
//! offsets are not asked and not moved.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::Timestamp;

use super::person::{Answer, sure};
use super::stretch::Part;
use super::table::table;
use super::{Exit, Global};
use crate::gate;
use crate::kafka::admin::topic_ids;
use crate::kafka::offsets::{self, Ends};
use crate::notify;
use crate::pg::positions::{self, Place};
use crate::pg::{self, PoolError};
use crate::runtime::config::Config;
use crate::sink::project;
use crate::wire::Subject;

const HELP: &str = "\
Reading again is safe: what is in the ledger is a replay, which decides, sends and tells nothing; the sink writes no
row twice, notify opens nothing that is over. Refused inputs may be refused again, under the same event id. Running workers notice within two seconds and go
on from there; nothing needs to be stopped. Moving forward skips records: they are not read at all.

Examples:
  noctus rewind order-requests --to start                        everything that Kafka has, with a preview
  noctus rewind order-requests:3 --to 1200 --yes                 one partition, from an offset
  noctus rewind decisions --to 2026-11-25T08:00:00Z --yes        the sink, from a time
  noctus rewind exec-events --to end --yes                       skip to the end
  noctus rewind alerts --reader notify --to end --yes            notify, which reads alerts beside the sink

Exit codes: 0 done, 1 you said no, 2 no --yes and no terminal, or offsets that Kafka does not have,
69 Kafka or Postgres is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// The input, by its logical name, and one partition of it if not all
    #[arg(value_name = "TOPIC[:PARTITION]")]
    input: Part,
    /// Where to go on: an offset, a time (RFC 3339), start or end
    #[arg(long, value_name = "OFFSET|TIME|start|end")]
    to: Target,
    /// Whose position; without it the role that reads the topic
    #[arg(long, value_enum)]
    reader: Option<Reader>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A role that reads inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Reader {
    Gate,
    Sink,
    Notify,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Reader::Gate => "gate",
            Reader::Sink => "sink",
            Reader::Notify => notify::READER,
        }
    }

    fn reads(self) -> &'static [Subject] {
        match self {
            Reader::Gate => &gate::INPUTS,
            Reader::Sink => &project::SUBJECTS,
            Reader::Notify => &[Subject::Alert],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Start,
    End,
    Offset(i64),
    Time(Timestamp),
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => return Ok(Target::Start),
            "end" => return Ok(Target::End),
            _ => {}
        }
        if let Ok(offset) = text.parse::<i64>() {
            return match offset {
                0.. => Ok(Target::Offset(offset)),
                _ => Err("an offset is 0 or more".into()),
            };
        }
        let time = text.parse::<Timestamp>();
        time.map(Target::Time).map_err(|_| {
            "neither start, end, an offset, nor a time such as 2026-11-25T08:00:00Z".into()
        })
    }
}

/// One partition of the preview.
struct Step {
    partition: i32,
    ends: Ends,
    from: Option<i64>,
    to: i64,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let reader = match reader_of(&args) {
        Ok(reader) => reader,
        Err(wrong) => return Ok(usage(&wrong)),
    };
    let topic = config.topic(&args.input.topic);
    let ids = topic_ids(&config, std::slice::from_ref(&topic)).await?;
    let topic_id = ids.get(&topic).with_context(|| format!("no id of topic {topic}"))?.clone();
    let pool = pg::connect(&config.database).await?;
    let mut client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    let stored = positions::stored(&client, reader.name(), &topic_id).await?;
    let steps = match steps(&config, &topic, &args, &stored).await? {
        Ok(steps) => steps,
        Err(wrong) => return Ok(usage(&wrong)),
    };
    println!("reader {}, topic {topic}", reader.name());
    println!("{}", preview(&steps));
    match sure(args.yes, "Move these positions?")? {
        Answer::Yes => {}
        Answer::No => return Ok(Exit::Findings),
        Answer::Nobody => return Ok(Exit::Usage),
    }
    let place = |partition| Place {
        topic_id: topic_id.as_str().into(),
        topic: topic.as_str().into(),
        partition,
    };
    let places: Vec<(Place, i64)> = steps.iter().map(|s| (place(s.partition), s.to)).collect();
    positions::rewind(&mut client, reader.name(), &places).await?;
    println!("moved under new epochs; running workers go on from there within two seconds");
    Ok(Exit::Ok)
}

fn usage(wrong: &str) -> Exit {
    eprintln!("noctus: {wrong}");
    Exit::Usage
}

fn reader_of(args: &Args) -> Result<Reader, String> {
    let reads = |reader: &Reader| reader.reads().iter().any(|s| s.topic() == args.input.topic);
    let all = [Reader::Gate, Reader::Sink, Reader::Notify];
    let found = match args.reader {
        Some(reader) => Some(reader).filter(reads),
        None => all.into_iter().find(reads),
    };
    found.ok_or_else(|| {
        let topics = |r: &Reader| {
            let names: Vec<&str> = r.reads().iter().map(|s| s.topic()).collect();
            format!("{} reads {}", r.name(), names.join(", "))
        };
        let told: Vec<String> = all.iter().map(topics).collect();
        format!("{} is not read there: {}", args.input.topic, told.join("; "))
    })
}

/// Where each partition would go; refused if Kafka does not have it.
async fn steps(
    config: &Config,
    topic: &str,
    args: &Args,
    stored: &BTreeMap<i32, i64>,
) -> anyhow::Result<Result<Vec<Step>, String>> {
    let mut ends = offsets::ends(config, topic).await?;
    if let Some(wanted) = args.input.partition {
        ends.retain(|partition, _| *partition == wanted);
        if ends.is_empty() {
            return Ok(Err(format!("{topic} has no partition {wanted}")));
        }
    }
    let times = match args.to {
        Target::Time(time) => offsets::at_time(config, topic, &ends, time).await?,
        _ => BTreeMap::new(),
    };
    let mut steps = Vec::with_capacity(ends.len());
    for (partition, ends) in ends {
        let to = match args.to {
            Target::Start => ends.low,
            Target::End => ends.high,
            Target::Offset(offset) => offset,
            Target::Time(_) => times.get(&partition).copied().unwrap_or(ends.high),
        };
        if !(ends.low..=ends.high).contains(&to) {
            let Ends { low, high } = ends;
            let wrong =
                format!("{topic}/{partition}: Kafka has {low} to {high}, and {to} is not in it");
            return Ok(Err(wrong));
        }
        steps.push(Step { partition, ends, from: stored.get(&partition).copied(), to });
    }
    Ok(Ok(steps))
}

fn preview(steps: &[Step]) -> String {
    let row = |s: &Step| {
        let from = s.from.unwrap_or(s.ends.low);
        let change = match from - s.to {
            0 => "nothing changes".to_string(),
            again @ 1.. => format!("{again} record(s) again"),
            skipped => format!("skips {} record(s)", -skipped),
        };
        let read = s.from.map_or("never read".to_string(), |from| from.to_string());
        let kafka = format!("{} to {}", s.ends.low, s.ends.high);
        vec![s.partition.to_string(), read, s.to.to_string(), kafka, change]
    };
    let columns = ["partition", "from", "to", "Kafka has", "that is"];
    let table = table(&columns, steps.iter().map(row));
    let again: i64 = steps.iter().map(|s| (s.from.unwrap_or(s.ends.low) - s.to).max(0)).sum();
    let skipped: i64 = steps.iter().map(|s| (s.to - s.from.unwrap_or(s.ends.low)).max(0)).sum();
    format!("{table}\n{again} record(s) are read again, {skipped} are skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        let time = "2026-11-25T08:00:00Z";
        let cases = [
            ("start", Target::Start),
            ("end", Target::End),
            ("0", Target::Offset(0)),
            (time, Target::Time(time.parse().unwrap())),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse::<Target>(), Ok(wanted));
        }
        for bad in ["-1", "yesterday", "2026-11-25", ""] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
