//! Codes of order commands: why one was refused, and what an accepted one found.

use super::Kind::Command;
use super::{Entry, Words, entry};

const fn code(name: &'static str, en: Words, ja: Words) -> Entry {
    entry(Command, name, None, en, ja)
}

/// A refusal that a producer meets with nothing but another command, if with any.
const TOO_BAD_EN: &str = "Look at the order's state (`noctus explain KEY`). Another attempt is another command, under a key of its own.";
const TOO_BAD_JA: &str =
    "注文の状態を見る (`noctus explain KEY`)。やり直すなら、新しいキーで別の指令を送る。";

pub(super) const CODES: &[Entry] = &[
    code(
        "before_its_order",
        (
            "ACCEPTED: the order to cancel is not known (yet). An order that comes under its key for that account and symbol is decided REJECT `cancelled` and never sent.",
            "Nothing, if the cancel overtook its order. If the key is wrong, the order that was meant still lives: cancel it under its own key.",
        ),
        (
            "ACCEPTED。取り消す注文が (まだ) 知られていない。その口座・銘柄でそのキーの注文が後から来ても、REJECT `cancelled` と決定し、送らない。",
            "取消が注文を追い越しただけなら対応は不要。キーの誤りなら、本来の注文は生きたままなので、その注文のキーで取り消す。",
        ),
    ),
    code(
        "expired",
        (
            "REFUSED: a CANCEL requested more than 24 h ago, a REPLACE more than 5 min ago, or decided after its valid_until.",
            "Look at the producer's clock and at the consumer's lag. Send another command if it is still wanted.",
        ),
        (
            "REFUSED。要求から CANCEL は 24 時間、REPLACE は 5 分を超えたか、valid_until の後だった。",
            "送り手の時計とコンシューマの遅れを確認する。まだ必要なら別の指令を送る。",
        ),
    ),
    code(
        "from_the_future",
        (
            "REFUSED: requested_at is more than 5 s ahead of our clock.",
            "Set the producer's clock, and send another command.",
        ),
        (
            "REFUSED。requested_at がこちらの時計より 5 秒を超えて進んでいる。",
            "送り手の時計を合わせ、別の指令を送る。",
        ),
    ),
    code(
        "other_lane",
        (
            "REFUSED: its order is of another account or symbol. That order is not touched.",
            "Mend the producer: a command has the account and symbol of its order.",
        ),
        (
            "REFUSED。対象の注文は別の口座または銘柄のものである。その注文には触れない。",
            "送り手を直す。指令の口座と銘柄は対象の注文と同じでなければならない。",
        ),
    ),
    code(
        "never_sent",
        (
            "REFUSED: its order was decided FLAT or REJECT; there is nothing at the broker, and there will not be.",
            "Nothing.",
        ),
        (
            "REFUSED。対象の注文は FLAT または REJECT と決定されており、ブローカーには何も無い。",
            "対応は不要。",
        ),
    ),
    code(
        "too_late",
        (
            "REFUSED: its order is FILLED, REJECTED, CANCELLED or EXPIRED already.",
            "Nothing to cancel. To undo a fill, send an order against it.",
        ),
        (
            "REFUSED。対象の注文は既に FILLED・REJECTED・CANCELLED・EXPIRED のどれかである。",
            "取り消すものは無い。約定を打ち消すには反対の注文を送る。",
        ),
    ),
    code(
        "unknown_order",
        (
            "REFUSED: no order is known under the key that the REPLACE names. If the order comes later, it is as it was asked for.",
            TOO_BAD_EN,
        ),
        (
            "REFUSED。REPLACE が示すキーの注文が知られていない。注文が後から来れば、要求された通りになる。",
            TOO_BAD_JA,
        ),
    ),
    code(
        "cancel_wanted",
        (
            "REFUSED or FAILED: the order is to be cancelled, by its producer, a halt or a person.",
            "Nothing.",
        ),
        (
            "REFUSED または FAILED。注文は取り消されるところである (送り手、停止、または担当者による)。",
            "対応は不要。",
        ),
    ),
    code(
        "replace_pending",
        (
            "REFUSED: another replacement of the order is on its way.",
            "Wait for its DONE or FAILED on command-outcomes, then send another command.",
        ),
        (
            "REFUSED。その注文への別の訂正が処理中である。",
            "command-outcomes の DONE または FAILED を待ってから、別の指令を送る。",
        ),
    ),
    code(
        "outcome_unknown",
        (
            "REFUSED: the order is being decided or sent, or what the broker has of it is not known.",
            "Send another command when the order is ACCEPTED. A CANCEL is taken in any state.",
        ),
        (
            "REFUSED。注文が決定・送信の途中か、ブローカーにあるかどうかが不明である。",
            "注文が ACCEPTED になってから別の指令を送る。CANCEL はどの状態でも受け付ける。",
        ),
    ),
    code(
        "no_limit_price",
        ("REFUSED: the order's type has no limit price.", TOO_BAD_EN),
        ("REFUSED。その注文の種別に指値は無い。", TOO_BAD_JA),
    ),
    code(
        "would_grow",
        (
            "REFUSED: a replacement may only shrink an order.",
            "Send another order for what is to be added: it is judged like any other.",
        ),
        (
            "REFUSED。訂正で数量を増やすことはできない。",
            "増やす分は別の注文として送る。他の注文と同じに判定される。",
        ),
    ),
    code(
        "too_much_filled",
        (
            "REFUSED or FAILED: so much of the order is filled, or more; nothing would be left to replace.",
            "Cancel the rest, if it is not wanted.",
        ),
        (
            "REFUSED または FAILED。その数量以上が既に約定しており、訂正する残りが無い。",
            "残りが不要なら取り消す。",
        ),
    ),
    code(
        "nothing_changes",
        ("REFUSED: these are the order's terms.", "Nothing."),
        ("REFUSED。その注文は既にその条件である。", "対応は不要。"),
    ),
    code(
        "halted",
        (
            "REFUSED or FAILED: a halt covers the order. A CANCEL goes through.",
            "Send another command after the resume, if the order still works.",
        ),
        (
            "REFUSED または FAILED。停止の範囲内である。CANCEL は受け付ける。",
            "再開の後、注文が生きていれば別の指令を送る。",
        ),
    ),
    code(
        "reduce_only",
        (
            "REFUSED or FAILED: the order opens risk, and its scope only reduces now.",
            "Cancel it, or send another command when the scope is open again.",
        ),
        (
            "REFUSED または FAILED。リスクを増やす注文だが、いまは減らす注文だけが許されている。",
            "取り消すか、制限が解けてから別の指令を送る。",
        ),
    ),
    code(
        "over_a_limit",
        (
            "REFUSED: at the new price the gate would not let the rest of the order pass now; the outcome's reason names the rule.",
            "Ask for a smaller quantity, or leave the order as it is.",
        ),
        (
            "REFUSED。新しい価格では、残りの数量がいまのゲートを通らない。ルール名は結果の reason にある。",
            "数量を減らすか、注文をそのままにする。",
        ),
    ),
    code(
        "broker_no_replace",
        (
            "FAILED: the broker does not replace orders. It is not done by a cancel and a new order instead: in between nothing would be there.",
            "Cancel the order, and send a new one when its end is known.",
        ),
        (
            "FAILED。ブローカーが訂正に対応していない。取消と新規注文で代用はしない。その間は注文が無くなるからである。",
            "注文を取り消し、終わったことを確かめてから新しい注文を送る。",
        ),
    ),
    code(
        "<code>",
        (
            "FAILED: any other code is why the broker, or what it says it can, refuses the new terms. The order goes on with its old ones.",
            TOO_BAD_EN,
        ),
        (
            "FAILED。その他のコードは、ブローカーが新しい条件を拒んだ理由である。注文は元の条件のまま続く。",
            TOO_BAD_JA,
        ),
    ),
];
