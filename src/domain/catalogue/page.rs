//! Owns the page of the catalogue, `docs/rules.md` and `docs/rules.ja.md`: every code on a section of its own.

use super::{Entry, Kind, Language, entries};

/// The whole page.
pub fn page(language: Language) -> String {
    let words = Words::of(language);
    let mut page = format!("# {}\n\n{}\n", words.title, words.lead);
    page.push_str("\n<!-- generated: noctus docs rules --lang ");
    page.push_str(words.lang);
    page.push_str(" -->\n");
    for kind in Kind::ALL {
        let (title, lead) = words.kind(kind);
        page.push_str(&format!("\n## {title}\n\n{lead}\n"));
        entries()
            .filter(|entry| entry.kind == kind)
            .for_each(|e| page.push_str(&section(e, language)));
    }
    page
}

fn section(entry: &Entry, language: Language) -> String {
    let words = Words::of(language);
    let text = entry.text(language);
    let severity = match entry.severity {
        Some(severity) => format!("**{}**{}", severity.as_str(), words.stop),
        None => String::new(),
    };
    format!(
        "\n### {}\n\n{severity}{}\n\n*{}*{}{}\n",
        entry.heading(),
        text.means,
        words.to_do,
        words.colon,
        text.to_do
    )
}

struct Words {
    lang: &'static str,
    title: &'static str,
    lead: &'static str,
    to_do: &'static str,
    colon: &'static str,
    stop: &'static str,
}

impl Words {
    fn of(language: Language) -> Self {
        match language {
            Language::English => Words {
                lang: "en",
                title: "Rules and reason codes",
                lead: "What every code means and what to do. Which limits there are is in \
                       [policies.md](policies.md), what is promised in [contract.md](contract.md). \
                       In Japanese: [rules.ja.md](rules.ja.md).",
                to_do: "What to do",
                colon: ": ",
                stop: ". ",
            },
            Language::Japanese => Words {
                lang: "ja",
                title: "ルールと理由コード",
                lead: "すべてのコードの意味と対応。上限の一覧は [policies.md](policies.md)、\
                       約束は [contract.md](contract.md)。英語版: [rules.md](rules.md)。",
                to_do: "対応",
                colon: ": ",
                stop: "。",
            },
        }
    }

    fn kind(&self, kind: Kind) -> (&'static str, &'static str) {
        let english = self.lang == "en";
        match (kind, english) {
            (Kind::Alert, true) => ("Alerts", "`policy_name` of an alert, and its severity."),
            (Kind::Alert, false) => ("アラート", "アラートの `policy_name` と重大度。"),
            (Kind::DeadLetter, true) => (
                "Dead letters",
                "`noctus-reason` of a dead letter. Each comes with an alert, and but for a conflict the order's key stays free.",
            ),
            (Kind::DeadLetter, false) => (
                "デッドレター",
                "デッドレターの `noctus-reason`。それぞれアラートを伴う。衝突を除き、注文のキーは消費されない。",
            ),
            (Kind::Decision, true) => ("Decisions", "The first word of the reason of a REJECT."),
            (Kind::Decision, false) => ("決定", "REJECT の reason の最初の語。"),
            (Kind::Step, true) => (
                "Steps",
                "`rule` of a step that changed a quantity. A rule that fires has the name of its alert.",
            ),
            (Kind::Step, false) => (
                "ステップ",
                "数量を変えたステップの `rule`。発火したルールはアラートと同じ名前である。",
            ),
            (Kind::Exec, true) => ("Exec events", "`reason_code` of an exec event."),
            (Kind::Exec, false) => ("執行イベント", "執行イベントの `reason_code`。"),
            (Kind::Command, true) => ("Order commands", "`reason_code` of a command's outcome."),
            (Kind::Command, false) => ("注文への指令", "指令の結果の `reason_code`。"),
        }
    }
}
