//! Codes of inputs that are refused before the ledger: a dead letter, an alert, and the key stays free.

use super::{Entry, Kind, alert, entry, refused};
use crate::domain::event::Severity;

pub(super) const REFUSED: &[[Entry; 2]] = &[
    refused!(
        "bad_wire",
        "ingest.bad_wire",
        Medium,
        (
            "The record is not in Confluent's wire format: no value, shorter than 5 bytes, or a first byte that is not 0.",
            "Find the producer: it does not use the Avro serialiser.",
        ),
        (
            "Confluent のワイヤ形式ではない。値が無い、5 バイト未満、または先頭バイトが 0 でない。",
            "送り手を特定する。Avro シリアライザを使っていない。",
        )
    ),
    refused!(
        "schema_in_header",
        "ingest.schema_in_header",
        Medium,
        (
            "The record names its schema in the header `__value_schema_id` (a GUID), not by an id before the value. No registry that Noctus supports looks schemas up by GUID.",
            "Set the producer's serialiser to the prefix (Confluent: `PrefixSchemaIdSerializer`, the default) and send it again, under the same key.",
        ),
        (
            "スキーマを値の前の ID ではなく、ヘッダ `__value_schema_id` (GUID) で示している。Noctus が対応するレジストリは GUID での検索ができない。",
            "送り手のシリアライザをプレフィックス方式 (Confluent の `PrefixSchemaIdSerializer`、既定値) に戻し、同じキーで送り直す。",
        )
    ),
    refused!(
        "too_large",
        "ingest.too_large",
        Medium,
        (
            "The record's value is larger than the gate takes. The dead letter keeps its digest and length only.",
            "Find the producer; an order request is a few hundred bytes.",
        ),
        (
            "値がゲートの上限より大きい。デッドレターにはダイジェストと長さだけが残る。",
            "送り手を特定する。注文要求は数百バイトのはずである。",
        )
    ),
    refused!(
        "bad_signature",
        "ingest.bad_signature",
        High,
        (
            "The signature is missing, not well formed, given more than once, by a key that is unknown or not in force, or it does not fit topic, key and value.",
            "Check the producer's key id and secret, and that topic, key and value are signed as they are produced. If it is nobody of yours, someone writes to your topic.",
        ),
        (
            "署名が無い、形式が違う、複数ある、鍵が不明または有効期間外、またはトピック・キー・値と合わない。",
            "送り手の kid と秘密鍵、および送る通りのトピック・キー・値に署名しているかを確認する。心当たりが無ければ、第三者がトピックに書き込んでいる。",
        )
    ),
    refused!(
        "not_authorised",
        "ingest.not_authorised",
        High,
        (
            "The signature is right, but its key may not sign for this topic, account or strategy.",
            "Widen the key's scopes in the keyring if the producer shall do that; else stop it.",
        ),
        (
            "署名は正しいが、その鍵はこのトピック・口座・戦略に署名できない。",
            "許してよい送り手なら鍵のスコープを広げる。そうでなければ止める。",
        )
    ),
    refused!(
        "unknown_schema",
        "ingest.unknown_schema",
        Medium,
        (
            "The registry does not know the schema id, also after the time given for late registration.",
            "Check that the producer and the gate use one registry, then redrive the dead letter.",
        ),
        (
            "スキーマ ID をレジストリが知らない。遅れて登録される猶予の後も同じだった。",
            "送り手とゲートが同じレジストリを使っているか確認し、デッドレターを再投入する。",
        )
    ),
    refused!(
        "schema_mismatch",
        "ingest.schema_mismatch",
        Medium,
        (
            "The schema that the record was written with cannot be read as the subject's own.",
            "The producer uses the wrong schema or topic. `noctus schemas check` compares all versions.",
        ),
        (
            "書き込みに使われたスキーマを、このサブジェクトのものとして読めない。",
            "送り手のスキーマかトピックが違う。`noctus schemas check` が全版を比べる。",
        )
    ),
    refused!(
        "bad_avro",
        "ingest.bad_avro",
        Medium,
        (
            "The body is not Avro as its own schema says: cut short, bytes left over, a bad index, bad UTF-8.",
            "Find the producer. The dead letter has the bytes.",
        ),
        (
            "本体が自身のスキーマ通りの Avro でない。途中で切れている、余りがある、添字や UTF-8 が不正。",
            "送り手を特定する。バイト列はデッドレターにある。",
        )
    ),
    refused!(
        "key_mismatch",
        "ingest.key_mismatch",
        Medium,
        (
            "The record key is not `account|symbol` of the request.",
            "Mend the producer: orders of one account and symbol must share a partition.",
        ),
        (
            "レコードキーが要求の `account|symbol` と一致しない。",
            "送り手を直す。同じ口座・銘柄の注文は同じパーティションに入らなければならない。",
        )
    ),
    refused!(
        "unstorable",
        "ingest.unstorable",
        Critical,
        (
            "The request was judged, and Postgres (SQLSTATE class 22 or 23) or the event's schema cannot hold the outcome. The others of its batch were decided. It was not decided, and its key stays free.",
            "This is a fault of Noctus, not of the producer: report it with the alert's reason and the dead letter. Redrive it when it is mended.",
        ),
        (
            "要求は判定されたが、結果を Postgres (SQLSTATE クラス 22・23) またはイベントのスキーマが受け付けない。同じバッチの他の要求は決定された。この要求は未決定で、キーは消費されていない。",
            "送り手ではなく Noctus の不具合である。アラートの reason とデッドレターを添えて報告する。直ってから再投入する。",
        )
    ),
    [
        entry(Kind::DeadLetter, "idempotency_conflict", None, CONFLICT_EN, CONFLICT_JA),
        alert("do.idempotency_conflict", Severity::High, CONFLICT_EN, CONFLICT_JA),
    ],
];

/// What befalls a gate itself.
pub(super) const GATE: &[Entry] = &[
    alert(
        "ingest.registry_unavailable",
        Severity::High,
        (
            "The schema registry has not answered for 30 s (`registry.absent_alert_ms`), and something needs a schema that is not known. Known schemas go on; a partition that meets an unknown id waits, and a quote with one stops all decisions.",
            "Bring the registry back. Nothing is lost and nothing becomes a dead letter; `noctus_registry_away_seconds` is 0 again when it answers.",
        ),
        (
            "スキーマレジストリが 30 秒間 (`registry.absent_alert_ms`) 応答せず、未知のスキーマが必要になっている。既知のスキーマは処理が続く。未知の ID を含むパーティションは待ち、気配値が未知の ID を持つと決定はすべて止まる。",
            "レジストリを復旧する。何も失われず、デッドレターにもならない。応答が戻ると `noctus_registry_away_seconds` は 0 になる。",
        ),
    ),
    alert(
        "gate.fenced",
        Severity::High,
        (
            "More than 3 batches of one partition were dropped by one worker within a minute: another worker moves it too. Nothing is decided twice, but the partition makes little way. Told once a minute as long as it lasts.",
            "Look who owns the partition (`owner` in `input_positions`): a process that was stopped and woke up, a machine whose clock jumps, or two clusters on one database with the same topic ids.",
        ),
        (
            "一つのワーカーで、同じパーティションのバッチが 1 分間に 3 回を超えて破棄された。別のワーカーも同じパーティションを進めている。二重に決定されることはないが、進みが遅い。続く間は 1 分に一度知らせる。",
            "誰がパーティションを持っているか (`input_positions` の `owner`) を調べる。停止後に復帰したプロセス、時計が飛ぶマシン、同じトピック ID で一つのデータベースを使う二つのクラスタなどである。",
        ),
    ),
];

/// Files that are read again while the gate runs.
pub(super) const RELOADS: &[Entry] = &[
    alert(
        "policies.reload_refused",
        Severity::Critical,
        (
            "A policy file was changed and is refused. The last good policies stay in force.",
            "Run `noctus policy check` on the files; the alert's reason has the violations. Mend them or put the old ones back.",
        ),
        (
            "ポリシーファイルが変更されたが、不正なので採用しない。直前の正しいポリシーが有効のままである。",
            "ファイルに `noctus policy check` をかける。違反はアラートの reason にある。直すか、元に戻す。",
        ),
    ),
    alert(
        "keys.reload_refused",
        Severity::Critical,
        (
            "A file with signing keys or secrets was changed and is refused. The last good ones stay in force.",
            "Check the keyring: a JSON list of kid, secret of at least 32 bytes, not_before, not_after, scopes. A key that must go at once is still in force.",
        ),
        (
            "署名鍵または秘密のファイルが変更されたが、不正なので採用しない。直前の正しいものが有効のままである。",
            "鍵の一覧を確認する。kid、32 バイト以上の secret、not_before、not_after、scopes を持つ JSON の配列である。直ちに失効させたい鍵もまだ有効なので注意する。",
        ),
    ),
];

const CONFLICT_EN: (&str, &str) = (
    "The key is known and stands for another order: account, symbol, side, quantity, type, prices or time in force differ. The first stands; this one is not decided.",
    "Mend the producer: a key is minted once per intended order. With recipe v1, two orders that differ in price only within a minute of a trace share a key: give explicit keys.",
);
const CONFLICT_JA: (&str, &str) = (
    "既知のキーが別の注文を指している。口座・銘柄・売買・数量・種別・価格・有効条件のどれかが違う。先の注文が有効で、これは決定しない。",
    "送り手を直す。キーは意図した注文ごとに一度だけ作る。レシピ v1 では、同じトレースの同じ分に価格だけが違う二つの注文が同じキーになるので、明示したキーを使う。",
);
