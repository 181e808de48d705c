//! Codes of what befalls a role itself, and not one request: inputs, schemas and clocks that are not as they should be.

use super::{Entry, alert};
use crate::domain::event::Severity;

const FLOODED_EN: (&str, &str) = (
    "Of one partition 100 records in a row were refused, or more than 10 % of at least 500 within 5 minutes (`gate.flood_…`). Each is a dead letter with an alert of its own, and its key stays free. With `gate.flood_action: pause` the partition waits, too, if our own keys have signed them. Told once a flood.",
    "Look what the reasons of the dead letters are. All of one kind after a deployment: a keyring, a registry or a schema is wrong here; mend it and redrive. One producer: stop it. `bad_signature`: somebody writes to the topic who has no key; take away the right to write.",
);
const FLOODED_JA: (&str, &str) = (
    "一つのパーティションで 100 件続けて、または 5 分間に 500 件以上のうち 10 % を超えて拒否された (`gate.flood_…`)。一件ごとにデッドレターとアラートが作られ、キーは消費されない。`gate.flood_action: pause` なら、自分たちの鍵で署名されたものによる場合、そのパーティションは待つ。一つの洪水につき一度知らせる。",
    "デッドレターの理由を見る。配備の後に同じ理由ばかりなら、こちらの鍵・レジストリ・スキーマが誤っている。直して再投入する。特定の送り手なら止める。`bad_signature` なら鍵を持たない者がトピックに書いている。書き込み権限を取り上げる。",
);
const SINK_UNSTORABLE_EN: (&str, &str) = (
    "The sink made a row of a record, and Postgres refuses it for its content (SQLSTATE class 22 or 23). The rows around it were written; this record is a dead letter `unstorable`. An alert that cannot be kept is a dead letter only.",
    "Somebody changed a table, or it is a fault of Noctus: the alert's reason has Postgres' words. Mend it, then redrive the dead letter, or rewind the topic: rows that are there stay as they are.",
);
const SINK_UNSTORABLE_JA: (&str, &str) = (
    "シンクがレコードから作った行を、Postgres が内容を理由に拒んだ (SQLSTATE クラス 22・23)。前後の行は書き込まれ、このレコードはデッドレター `unstorable` になる。保存できないアラート自体は、デッドレターになるだけである。",
    "誰かが表を変更したか、Noctus の不具合である。Postgres の言葉がアラートの reason にある。直してからデッドレターを再投入するか、トピックを巻き戻す。既にある行は変わらない。",
);

/// What befalls a role.
pub(super) const ROLES: &[Entry] = &[
    alert("gate.flooded", Severity::Critical, FLOODED_EN, FLOODED_JA),
    alert("sink.unstorable", Severity::Critical, SINK_UNSTORABLE_EN, SINK_UNSTORABLE_JA),
];
