//! Codes of orders at the broker: alerts of dispatch, and the reason codes of exec events.

use super::Kind::Exec;
use super::{Entry, Words, alert, entry};
use crate::domain::event::Severity::{Critical, High};

pub(super) const ALERTS: &[Entry] = &[
    alert(
        "do.parked",
        Critical,
        (
            "What the broker did with the order is unknown and cannot be found out: it has been asked in vain, or it neither dedupes nor finds orders by client id. The reservation stays; later orders of the lane that open risk wait.",
            "Look at the broker's own screen, then `noctus orders resolve KEY --as not-sent|rejected|filled`, with a second person.",
        ),
        (
            "ブローカーがこの注文をどう扱ったか不明で、問い合わせでも分からない。枠は押さえたままで、同じ口座・銘柄でリスクを増やす後続の注文は待つ。",
            "ブローカーの画面で確かめ、二人目の確認者とともに `noctus orders resolve KEY --as not-sent|rejected|filled` を実行する。",
        ),
    ),
    alert(
        "do.cancel_refused",
        High,
        (
            "The broker refuses to cancel an order that a halt, a person or its producer wants cancelled: it goes on working there.",
            "Cancel it at the broker by hand. Ask again with `noctus orders cancel` once the reason is gone.",
        ),
        (
            "停止、担当者または送り手が取り消したい注文の取り消しを、ブローカーが拒んだ。注文は生きたままである。",
            "ブローカーの画面で取り消す。理由がなくなったら `noctus orders cancel` でもう一度求める。",
        ),
    ),
    alert(
        "do.broker_mismatch",
        Critical,
        (
            "Under our client order id the broker has another order than ours.",
            "Halt the symbol. Someone else uses the account, or ids have been reused. Compare both orders with the broker.",
        ),
        (
            "こちらの client order id で、ブローカーが別の注文を持っている。",
            "銘柄を停止する。他者が口座を使っているか、ID が再利用された。両方の注文をブローカーと照合する。",
        ),
    ),
    alert(
        "do.illegal_event",
        High,
        (
            "The broker said something that cannot happen to the order in its state (a fill of a rejected order, a known fill with another price, an order that vanished). It was set aside; the order is as before.",
            "Compare the order with the broker's books. The alert's reason names the event.",
        ),
        (
            "その状態の注文には起こり得ないことをブローカーが伝えた (拒否した注文の約定、既知の約定の価格違い、注文の消失など)。隔離し、注文は元のままにした。",
            "ブローカーの記録と照合する。どの事象かはアラートの reason にある。",
        ),
    ),
    alert(
        "do.capabilities_drift",
        High,
        (
            "The broker says something else of itself than before: smallest quantity, steps, kinds of orders, what it dedupes. The reason names what changed; new orders follow it. CRITICAL if it must not be used any more (another environment): dispatch has ended.",
            "Ask the broker whether that was meant. `noctus broker capabilities` shows what it says now.",
        ),
        (
            "ブローカーの申告 (最小数量、刻み、注文の種類、重複排除など) が前と変わった。reason に変わった項目がある。新しい注文はそれに従う。使えなくなった場合 (別の環境など) は CRITICAL で、dispatch は終了している。",
            "意図した変更かをブローカーに確かめる。今の申告は `noctus broker capabilities` で見える。",
        ),
    ),
    alert(
        "do.broker_refuses_us",
        Critical,
        (
            "The broker refuses this dispatch (HTTP 401 or 403): it is SAFE, nothing is sent, asked or cancelled, and it shakes hands again and again until that succeeds. Told once an outage.",
            "Compare NOCTUS_BROKER_SECRET, broker.key_id and the clocks with the broker's. A secret in a file is read again by itself; one in a variable needs a restart. `noctus halts` shows which dispatch is SAFE.",
        ),
        (
            "ブローカーがこの dispatch を拒んでいる (HTTP 401 または 403)。SAFE に入り、送信・問い合わせ・取り消しを止め、接続確認が通るまで繰り返す。一度の障害につき一回だけ知らせる。",
            "NOCTUS_BROKER_SECRET、broker.key_id、時計をブローカー側と照合する。ファイルの秘密は自動で読み直す。環境変数の秘密は再起動が要る。どの dispatch が SAFE かは `noctus halts` で見える。",
        ),
    ),
    alert(
        "do.position_mismatch",
        Critical,
        (
            "Our position of an account and symbol is not the broker's, and nothing under way explains it. Only what reduces is sent there until a person has lifted that.",
            "`noctus broker positions` shows both sides; look for fills that one side lacks, and for whoever else uses the account. Then `noctus resume --account A --symbol S`, with a second person: the same difference is then not told again.",
        ),
        (
            "口座・銘柄の建玉がブローカーと食い違い、処理中の注文では説明できない。人が解除するまで、そこではリスクを減らす注文だけを送る。",
            "`noctus broker positions` で両方を見て、片方にしか無い約定や、口座を使う他者を探す。説明がついたら二人目の確認者とともに `noctus resume --account A --symbol S` を実行する。同じ差はもう知らせない。",
        ),
    ),
    alert(
        "do.fok_partial",
        High,
        (
            "A fill-or-kill order ended with a part of it filled. The broker broke its terms; the fill is booked.",
            "Talk to the broker. The position is as filled.",
        ),
        (
            "FOK の注文が一部だけ約定して終わった。ブローカーが条件を破った。約定は記帳した。",
            "ブローカーに連絡する。建玉は約定の通りである。",
        ),
    ),
    alert(
        "do.late_fill",
        High,
        (
            "A fill came after the order was cancelled or expired. It is booked and its reservation is taken again; if that is above the cap, the symbol is reduce_only.",
            "Check the position against the broker's.",
        ),
        (
            "取消または失効の後に約定が届いた。記帳し、枠を取り直した。上限を超えれば銘柄は reduce_only になる。",
            "建玉をブローカーと照合する。",
        ),
    ),
    alert(
        "do.over_fill",
        Critical,
        (
            "More was filled than was decided. It is booked, and the symbol is halted.",
            "Talk to the broker and check the position before the symbol is resumed.",
        ),
        (
            "決定した数量より多く約定した。記帳し、銘柄を停止した。",
            "ブローカーに連絡し、建玉を確かめてから銘柄を再開する。",
        ),
    ),
];

/// Nothing has to be done.
const NOTHING: (&str, &str) =
    ("Nothing: dispatch goes on by itself.", "対応は不要。dispatch が自分で続ける。");

const fn code(code: &'static str, en: Words, ja: Words) -> Entry {
    entry(Exec, code, None, en, ja)
}

/// A code that dispatch itself acts on.
const fn on_its_own(name: &'static str, en: &'static str, ja: &'static str) -> Entry {
    code(name, (en, NOTHING.0), (ja, NOTHING.1))
}

/// A refusal of the broker, by its own code.
const fn refusal(name: &'static str, en: &'static str, ja: &'static str) -> Entry {
    code(
        name,
        (en, "Mend what the strategy asks for, or the instrument's entry in the policy."),
        (ja, "戦略の要求、またはポリシーの銘柄の項を直す。"),
    )
}

pub(super) const CODES: &[Entry] = &[
    code(
        "halted",
        (
            "CANCELLED: a halt covers it, or did after it was decided. It was not sent, or was cancelled at the broker. A resume does not bring it back.",
            "Send a new order after the resume, if it is still wanted.",
        ),
        (
            "CANCELLED。停止の範囲内か、決定の後に停止された。送信前に取り消されたか、ブローカーで取り消された。再開しても送られない。",
            "まだ必要なら、再開の後に新しい注文を送る。",
        ),
    ),
    code(
        "reduce_only",
        (
            "CANCELLED before it was sent: it opens risk, and its scope only reduces now, or did after it was decided.",
            "Send a new order when the scope is open again.",
        ),
        (
            "送信前に CANCELLED。リスクを増やす注文だが、減らす注文だけが許されている、または決定の後に許されていた。",
            "制限が解けてから新しい注文を送る。",
        ),
    ),
    code(
        "too_old",
        (
            "EXPIRED: it was not sent in time (60 s for MARKET, IOC and FOK, 15 min for the rest), or past valid_until or its UTC day.",
            "Look at what held dispatch up: the broker, an order of unknown outcome before it, or too few senders.",
        ),
        (
            "EXPIRED。時間内に送れなかった (MARKET・IOC・FOK は 60 秒、その他は 15 分)、または valid_until か UTC の当日を過ぎた。",
            "何が dispatch を遅らせたかを調べる。ブローカー、前にある結果不明の注文、送信側の不足など。",
        ),
    ),
    on_its_own(
        "attempt_<n>",
        "SENT again: the n-th attempt to send this order, under the same client order id.",
        "同じ client order id での n 回目の送信。",
    ),
    on_its_own(
        "behind_unsent",
        "Not sent: an order of the same account and symbol before it has not gone out.",
        "未送信。同じ口座・銘柄の前の注文がまだ出ていない。",
    ),
    on_its_own(
        "behind_unknown",
        "Not sent: it opens risk, and an order of its lane before it has an unknown outcome.",
        "未送信。リスクを増やす注文だが、同じ口座・銘柄に結果不明の注文がある。",
    ),
    on_its_own(
        "stopping",
        "Not sent: this process was shutting down. Another takes it.",
        "未送信。このプロセスは終了中だった。別のプロセスが引き継ぐ。",
    ),
    on_its_own(
        "resolved_by_hand",
        "Two people ended a PARKED order (`noctus orders resolve`): the step is what they say became of it.",
        "二人の担当者が PARKED の注文を終わらせた (`noctus orders resolve`)。この段階は、二人が確かめた結果である。",
    ),
    on_its_own(
        "cancelled_by_hand",
        "CANCELLED because a person wanted it (`noctus orders cancel`): not sent, or cancelled at the broker.",
        "担当者の指示 (`noctus orders cancel`) による CANCELLED。送信前に、またはブローカーで取り消された。",
    ),
    on_its_own(
        "cancelled_by_producer",
        "CANCELLED because its producer wanted it (topic `order-commands`): not sent, or cancelled at the broker.",
        "送り手の指令 (トピック `order-commands`) による CANCELLED。送信前に、またはブローカーで取り消された。",
    ),
    on_its_own(
        "replaced",
        "Other terms are in force, as a command of the producer asked for; quantity and price are in the event. The state stays.",
        "送り手の指令により条件が変わった。数量と価格はイベントにある。状態はそのままである。",
    ),
    on_its_own(
        "halted_here",
        "Not sent: the sender's host is halted by its own file (`noctus halt --local`).",
        "未送信。送信側のホストが自分の停止ファイルで停止中である (`noctus halt --local`)。",
    ),
    on_its_own(
        "halts_not_read",
        "Not sent: whether there is a halt had not been read in the last 200 ms.",
        "未送信。直近 200 ミリ秒以内に停止の有無を読めていない。",
    ),
    on_its_own(
        "lease_over",
        "Not sent: this process no longer held the lane.",
        "未送信。このプロセスはもう担当ではない。",
    ),
    on_its_own(
        "taken_over",
        "UNKNOWN: the process that sent it is gone without an answer; its successor asks the broker.",
        "UNKNOWN。送ったプロセスが返事の前に消えた。後任がブローカーに問い合わせる。",
    ),
    on_its_own(
        "broker_unreachable",
        "Not sent: no connection to the broker; no byte left.",
        "未送信。ブローカーに接続できず、1 バイトも出ていない。",
    ),
    on_its_own(
        "timeout",
        "UNKNOWN: the broker did not answer in time. It is asked by client order id.",
        "UNKNOWN。ブローカーが時間内に答えなかった。client order id で問い合わせる。",
    ),
    on_its_own(
        "connection_lost",
        "UNKNOWN: the connection broke after the order may have left.",
        "UNKNOWN。注文が出たかも知れない後で接続が切れた。",
    ),
    on_its_own(
        "answer_cut_short",
        "UNKNOWN: the broker's answer broke off.",
        "UNKNOWN。ブローカーの返事が途中で切れた。",
    ),
    on_its_own(
        "answer_too_large",
        "UNKNOWN: the broker's answer is larger than is read.",
        "UNKNOWN。ブローカーの返事が読める上限より大きい。",
    ),
    on_its_own(
        "answer_malformed",
        "UNKNOWN: the broker's answer cannot be read.",
        "UNKNOWN。ブローカーの返事を読めない。",
    ),
    on_its_own(
        "broker_refuses_us",
        "Not sent: the broker refuses this dispatch, see do.broker_refuses_us.",
        "未送信。ブローカーがこの dispatch を拒んでいる。do.broker_refuses_us を見る。",
    ),
    on_its_own(
        "rate_limited",
        "UNKNOWN: the broker said HTTP 429. The pause it asks for is kept.",
        "UNKNOWN。ブローカーが HTTP 429 を返した。求められた間隔を守る。",
    ),
    code(
        "not_authorised",
        (
            "UNKNOWN: the broker said HTTP 401 or 403. Nothing more is sent, see do.broker_refuses_us; then it is asked about.",
            "Check the credentials for the broker, and that broker.environment is the broker's.",
        ),
        (
            "UNKNOWN。ブローカーが HTTP 401 または 403 を返した。以後は送らず (do.broker_refuses_us)、その後で問い合わせる。",
            "ブローカーの認証情報と broker.environment を確認する。",
        ),
    ),
    on_its_own(
        "http_409",
        "UNKNOWN: the broker said the id is taken and did not show the order that has it.",
        "UNKNOWN。ブローカーが ID は使用済みと答えたが、その注文を示さなかった。",
    ),
    on_its_own(
        "http_404",
        "UNKNOWN: a 404 that is not the broker's own word for an unknown order.",
        "UNKNOWN。「注文なし」というブローカー自身の言葉でない 404。",
    ),
    on_its_own(
        "http_status",
        "UNKNOWN: an HTTP status that is no clear answer (5xx and others).",
        "UNKNOWN。はっきりした返事でない HTTP ステータス (5xx など)。",
    ),
    code(
        "request_not_built",
        (
            "Not sent: the request to the broker could not be built.",
            "Check broker.url; this is a mistake of the configuration or a bug.",
        ),
        (
            "未送信。ブローカーへの要求を組み立てられなかった。",
            "broker.url を確認する。設定の誤りか不具合である。",
        ),
    ),
    code(
        "not_found",
        (
            "PARKED: the broker does not know the order and may not be sent it again.",
            "See do.parked.",
        ),
        ("PARKED。ブローカーはこの注文を知らないが、再送もできない。", "do.parked を見る。"),
    ),
    code(
        "asked_in_vain:<code>",
        (
            "PARKED: the broker was asked six times and gave no clear answer; the last failure follows the colon.",
            "See do.parked.",
        ),
        (
            "PARKED。6 回問い合わせても、はっきりした返事が無かった。コロンの後は最後の失敗である。",
            "do.parked を見る。",
        ),
    ),
    code(
        "cannot_ask",
        (
            "PARKED: the answer was lost, the broker answers no questions, and sending again might make a second order.",
            "See do.parked.",
        ),
        (
            "PARKED。返事が失われ、このブローカーは問い合わせに答えず、再送すると二つ目の注文になり得る。",
            "do.parked を見る。",
        ),
    ),
    code(
        "broker_mismatch",
        (
            "PARKED: under its client order id the broker has another order.",
            "See do.broker_mismatch.",
        ),
        (
            "PARKED。同じ client order id で、ブローカーが別の注文を持っている。",
            "do.broker_mismatch を見る。",
        ),
    ),
    refusal(
        "broker_time_in_force",
        "REJECTED here: the broker does not take this time in force.",
        "手元で REJECTED。ブローカーがこの有効条件を受けない。",
    ),
    refusal(
        "broker_order_type",
        "REJECTED here: the broker does not take this order type.",
        "手元で REJECTED。ブローカーがこの注文種別を受けない。",
    ),
    refusal(
        "broker_min_qty",
        "REJECTED here: less than the broker takes.",
        "手元で REJECTED。ブローカーの最小数量を下回る。",
    ),
    refusal(
        "broker_qty_step",
        "REJECTED here: not a multiple of the broker's step.",
        "手元で REJECTED。ブローカーの数量刻みの倍数でない。",
    ),
    code(
        "broker",
        (
            "The broker ended the order and gave no code.",
            "Ask the broker, or look at the order's answer in the ledger.",
        ),
        ("ブローカーがコードを示さずに注文を終えた。", "ブローカーに尋ねるか、台帳の返事を見る。"),
    ),
    refusal(
        "no_price",
        "REJECTED by the paper broker: it has no quote for a market order.",
        "ペーパーブローカーが REJECTED。成行注文に使う気配値が無い。",
    ),
    refusal(
        "no_limit_price",
        "REJECTED by the paper broker: a limit order without a limit price.",
        "ペーパーブローカーが REJECTED。指値の無い指値注文。",
    ),
    refusal(
        "no_stop_price",
        "REJECTED by the paper broker: a stop order without a stop price.",
        "ペーパーブローカーが REJECTED。逆指値の無い逆指値注文。",
    ),
    on_its_own(
        "not_crossed",
        "CANCELLED by the paper broker: an IOC or FOK order that the market did not meet.",
        "ペーパーブローカーが CANCELLED。IOC・FOK の価格に相場が届かなかった。",
    ),
    on_its_own(
        "too_late",
        "REJECTED by the paper broker: it arrived after its accept_by.",
        "ペーパーブローカーが REJECTED。accept_by の後に届いた。",
    ),
    refusal(
        "bad_side",
        "REJECTED by the paper broker: neither BUY nor SELL.",
        "ペーパーブローカーが REJECTED。BUY でも SELL でもない。",
    ),
    refusal(
        "bad_qty",
        "REJECTED by the paper broker: no quantity above 0.",
        "ペーパーブローカーが REJECTED。数量が 0 より大きくない。",
    ),
    code(
        "<code>",
        (
            "Any other code is the broker's own: why it rejected, cancelled or expired the order.",
            "See the broker's documentation.",
        ),
        (
            "その他のコードはブローカー自身のもので、拒否・取消・失効の理由である。",
            "ブローカーの文書を見る。",
        ),
    ),
];
