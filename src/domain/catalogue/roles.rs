//! Codes of what befalls a role itself, and not one request: inputs, schemas and clocks that are not as they should be.

use super::{Entry, alert};
use crate::domain::event::Severity;

const SCHEMA_CHANGED_EN: (&str, &str) = (
    "The registry gives another schema for an id than it gave first (table `registry_schemas`). An id never changes its meaning: this is another registry, or one that was made anew with other ids. Nothing is decided until it gives the same again; requests wait, none becomes a dead letter.",
    "Bring back the registry with its ids, from its backup. The gates notice it within a second or two. If the new schema is the right one, delete the id's row from `registry_schemas` and start the gates again.",
);
const SCHEMA_CHANGED_JA: (&str, &str) = (
    "レジストリが、ある ID について最初とは違うスキーマを返した (表 `registry_schemas`)。ID の意味は変わらないはずなので、別のレジストリか、別の ID で作り直されたものである。元に戻るまで何も決定しない。要求は待ち、デッドレターにはならない。",
    "レジストリを ID ごとバックアップから復旧する。ゲートは 1、2 秒で気づく。新しいスキーマの方が正しいなら、`registry_schemas` からその ID の行を消し、ゲートを再起動する。",
);
const SKEW_EN: (&str, &str) = (
    "The gate's clock and that of Postgres, or of Kafka, are more than 2 s apart (`gate.clock_alert_ms`). Requests are judged by their age, so some may be refused or taken wrongly. Told once until they agree again.",
    "Look at NTP on both machines. `noctus_clock_skew_seconds` shows how far Postgres is ahead.",
);
const SKEW_JA: (&str, &str) = (
    "ゲートの時計と Postgres または Kafka の時計が 2 秒を超えてずれている (`gate.clock_alert_ms`)。要求は経過時間で判定されるので、誤って拒否・受理されることがある。再び合うまで一度だけ知らせる。",
    "両方のマシンの NTP を調べる。`noctus_clock_skew_seconds` が Postgres の進みを示す。",
);
const APART_EN: (&str, &str) = (
    "The gate's clock and that of Postgres are more than 5 s apart (`gate.clock_pause_ms`). This gate decides nothing until they agree again within 2 s; requests wait.",
    "Set the clock that is wrong (NTP). The gate goes on by itself. What is too old by then is decided REJECT `expired`.",
);
const APART_JA: (&str, &str) = (
    "ゲートの時計と Postgres の時計が 5 秒を超えてずれている (`gate.clock_pause_ms`)。差が 2 秒以内に戻るまで、このゲートは何も決定しない。要求は待つ。",
    "誤っている方の時計を合わせる (NTP)。ゲートは自動的に再開する。それまでに古くなった要求は REJECT `expired` になる。",
);
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
const UPKEEP_FAILING_EN: (&str, &str) = (
    "A task of upkeep (months ahead, days and hours that are over, service levels, retention) has failed three times in a row. It is tried again, with pauses of up to 10 minutes; orders and the sink's rows do not wait for it. Told once until it succeeds.",
    "Table `obs_upkeep` has the task and Postgres' words; `noctus maintain` tries it at once. A lock not had: a transaction is open for long on a table. A statement cancelled: raise `upkeep.statement_timeout_s`.",
);
const UPKEEP_FAILING_JA: (&str, &str) = (
    "保守の作業 (先の月の用意、終わった日や時間の集計、サービスレベル、保存期限) が三回続けて失敗した。最長 10 分の間隔で再び試みる。注文もシンクの書き込みもこれを待たない。成功するまで一度だけ知らせる。",
    "表 `obs_upkeep` に作業名と Postgres の言葉がある。`noctus maintain` で直ちに試せる。ロックが取れないなら、表の上で長く開いたトランザクションがある。文が取り消されたなら `upkeep.statement_timeout_s` を上げる。",
);
const SLO_REFUSED_EN: (&str, &str) = (
    "The file of service levels (`slo.file`) has changed and says what is not allowed; the last good ones stay in force. The reason has every violation with its line.",
    "`noctus slo check FILE` shows all of it. A good file is in force within seconds.",
);
const SLO_REFUSED_JA: (&str, &str) = (
    "サービスレベルのファイル (`slo.file`) が変わったが、許されない記述がある。最後の正しい内容が有効なままである。理由に違反のすべてが行番号とともにある。",
    "`noctus slo check FILE` がすべてを示す。正しいファイルは数秒で有効になる。",
);

/// What befalls a role.
pub(super) const ROLES: &[Entry] = &[
    alert("ingest.schema_changed", Severity::Critical, SCHEMA_CHANGED_EN, SCHEMA_CHANGED_JA),
    alert("clock.skew", Severity::High, SKEW_EN, SKEW_JA),
    alert("clock.apart", Severity::Critical, APART_EN, APART_JA),
    alert("gate.flooded", Severity::Critical, FLOODED_EN, FLOODED_JA),
    alert("sink.unstorable", Severity::Critical, SINK_UNSTORABLE_EN, SINK_UNSTORABLE_JA),
    alert("sink.upkeep_failing", Severity::High, UPKEEP_FAILING_EN, UPKEEP_FAILING_JA),
    alert("sink.slo_refused", Severity::High, SLO_REFUSED_EN, SLO_REFUSED_JA),
];
