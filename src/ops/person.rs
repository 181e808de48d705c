//! Who acts, and whether they mean it: what verbs that change something for everyone ask of a person.

use std::io::{BufRead, IsTerminal, Write};

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do nothing; the person said so.
    No,
    /// Nobody was there to be asked.
    Nobody,
}

/// Asks, unless `--yes` was given. Without a terminal there is nobody to be asked.
pub fn sure(yes: bool, question: &str) -> std::io::Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("nothing was changed: this is the preview, --yes does it");
        return Ok(Answer::Nobody);
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(match line.trim() {
        "y" | "Y" | "yes" => Answer::Yes,
        _ => Answer::No,
    })
}

/// Who acts: as told, else the operating system's user at this host.
pub fn whom(told: Option<&str>) -> String {
    if let Some(told) = told {
        return told.to_string();
    }
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_string())
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{}@{host}", named.unwrap_or(id))
}
