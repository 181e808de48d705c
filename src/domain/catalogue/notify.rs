//! Codes of telling people: objectives that are violated, and messages that do not arrive.

use super::{Entry, alert};
use crate::domain::event::Severity;

const SLO_EN: (&str, &str) = (
    "An objective of `configs/slo.yml` is violated, or has become worse: a row of `obs_slo_violations_24h`. Told by notify when the row appears or its severity rises; the severity is the row's. No data is a violation, too.",
    "Look at the row: what was observed, what is allowed, over which window, and the trace that was worst (`noctus explain`).",
);
const SLO_JA: (&str, &str) = (
    "`configs/slo.yml` の目標が破られたか、さらに悪化した (`obs_slo_violations_24h` の行)。行が現れたとき、または重大度が上がったときに notify が知らせる。重大度は行のもの。データがないことも違反である。",
    "行を見る。観測値、許容値、期間、最悪のトレースが分かる (`noctus explain`)。",
);
const FAILED_EN: (&str, &str) = (
    "A message to a receiver will not arrive: it was refused (400, 413, 415, 422), or tried for `pace.give_up_s`, or its receiver is no longer in the file. CRITICAL if it told that something CRITICAL holds, else HIGH. Not told to that receiver itself.",
    "`noctus notify deliveries` has the last answer. Mend the receiver, or its address or secret (`noctus notify test RECEIVER`). What it missed is in `noctus notify list`.",
);
const FAILED_JA: (&str, &str) = (
    "宛先へのメッセージが届かない。拒否された (400・413・415・422)、`pace.give_up_s` の間試みた、または宛先がファイルからなくなった。CRITICAL の継続を伝えるものなら CRITICAL、それ以外は HIGH。その宛先自身には知らせない。",
    "最後の応答は `noctus notify deliveries` にある。宛先、または URL や秘密を直す (`noctus notify test RECEIVER`)。届かなかった内容は `noctus notify list` にある。",
);
const GONE_EN: (&str, &str) = (
    "A receiver answered 410: it wants no more. It is told nothing until the file of routes says something else.",
    "Take the receiver out of the file, or give it another address.",
);
const GONE_JA: (&str, &str) = (
    "宛先が 410 を返した。もう受け取らないという意味であり、ルートのファイルが変わるまで何も送らない。",
    "宛先をファイルから外すか、別のアドレスを与える。",
);
const RELOAD_EN: (&str, &str) = (
    "A changed file of routes is refused, or a secret that it needs is missing; the last good one stays in force.",
    "`noctus notify check FILE` tells every violation with its place. Mend the file; it is read again by itself.",
);
const RELOAD_JA: (&str, &str) = (
    "変更されたルートのファイルが拒否されたか、必要な秘密がない。最後の正しいものが有効なままである。",
    "`noctus notify check FILE` がすべての違反を場所とともに示す。ファイルを直せば自動的に読み直される。",
);

/// What notify tells of.
pub(super) const NOTIFY: &[Entry] = &[
    alert("slo.<name>", Severity::Medium, SLO_EN, SLO_JA),
    alert("notify.delivery_failed", Severity::Critical, FAILED_EN, FAILED_JA),
    alert("notify.receiver_gone", Severity::Critical, GONE_EN, GONE_JA),
    alert("notify.reload_refused", Severity::Critical, RELOAD_EN, RELOAD_JA),
];
