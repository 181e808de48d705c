//! Codes of what befalls a role itself, and not one request: inputs, schemas and clocks that are not as they should be.

use super::{Entry, alert};
use crate::domain::event::Severity;

const SINK_UNSTORABLE_EN: (&str, &str) = (
    "The sink made a row of a record, and Postgres refuses it for its content (SQLSTATE class 22 or 23). The rows around it were written; this record is a dead letter `unstorable`. An alert that cannot be kept is a dead letter only.",
    "Somebody changed a table, or it is a fault of Noctus: the alert's reason has Postgres' words. Mend it, then redrive the dead letter, or rewind the topic: rows that are there stay as they are.",
);
const SINK_UNSTORABLE_JA: (&str, &str) = (
    "シンクがレコードから作った行を、Postgres が内容を理由に拒んだ (SQLSTATE クラス 22・23)。前後の行は書き込まれ、このレコードはデッドレター `unstorable` になる。保存できないアラート自体は、デッドレターになるだけである。",
    "誰かが表を変更したか、Noctus の不具合である。Postgres の言葉がアラートの reason にある。直してからデッドレターを再投入するか、トピックを巻き戻す。既にある行は変わらない。",
);

/// What befalls a role.
pub(super) const ROLES: &[Entry] =
    &[alert("sink.unstorable", Severity::Critical, SINK_UNSTORABLE_EN, SINK_UNSTORABLE_JA)];
