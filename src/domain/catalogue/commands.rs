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
        "not_supported",
        (
            "REFUSED: this build replaces no orders.",
            "Cancel the order, and send a new one when its end is known.",
        ),
        (
            "REFUSED。このビルドは注文の訂正に対応していない。",
            "注文を取り消し、終わったことを確かめてから新しい注文を送る。",
        ),
    ),
];
