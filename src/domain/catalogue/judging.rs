//! Codes of judging: the quality gate, the risk gate, decisions and their steps.

use super::Kind::{Decision, Step};
use super::{Entry, alert, entry};
use crate::domain::event::Severity::{Critical, High, Low, Medium};

pub(super) const QUALITY: &[Entry] = &[
    alert(
        "PLAN.QUALITY.UNKNOWN",
        High,
        (
            "A measurement of the data's quality is absent, NaN, infinite, negative, or a missing_ratio above 1. Nothing opens (`on_unknown: flat`), or the metric alone counts as good (`on_unknown: ok`).",
            "Find out why the plan step did not measure. Until it does, orders only reduce.",
        ),
        (
            "データ品質の指標が、無い、NaN、無限大、負、または missing_ratio が 1 を超えている。`on_unknown: flat` なら新規のリスクは取らない。`ok` ならその指標だけを良好とみなす。",
            "PLAN 側が測れなかった理由を調べる。直るまでは建玉を減らす注文だけが通る。",
        ),
    ),
    alert(
        "PLAN.QUALITY.DATA_LAG",
        High,
        (
            "The newest data is older than max_data_lag_min. The verdict is FLAT: nothing opens until the lag is below the limit × exit_ratio.",
            "Look at the data feed. If bars of this timeframe are old by nature (daily bars), give the timeframe limits of its own in the quality policy.",
        ),
        (
            "最新データが max_data_lag_min より古い。判定は FLAT で、遅れが上限 × exit_ratio を下回るまで新規のリスクは取らない。",
            "データの供給を確認する。日足のように元々遅れる時間足なら、品質ポリシーでその時間足だけの上限を決める。",
        ),
    ),
    alert(
        "PLAN.QUALITY.MISSING_RATIO",
        Medium,
        (
            "More data is missing than max_missing_ratio. What opens is multiplied (SCALE), and above flat_missing_ratio nothing opens (FLAT). The multiplier is in the decision's reason.",
            "Look at the data feed if it goes on.",
        ),
        (
            "欠損率が max_missing_ratio を超えた。新規のリスクに係る数量へ係数を掛け (SCALE)、flat_missing_ratio を超えれば取らない (FLAT)。係数は決定の reason にある。",
            "続くようならデータの供給を確認する。",
        ),
    ),
    alert(
        "PLAN.QUALITY.HELD",
        Low,
        (
            "The data is within its limits again, but not far enough: the verdict stays FLAT until the metric is below its limit × exit_ratio, so that it does not flap.",
            "Nothing. If it lasts, the metric sits right below its limit.",
        ),
        (
            "指標は上限内に戻ったが、まだ余裕が足りない。判定が揺れないように、上限 × exit_ratio を下回るまで FLAT を保つ。",
            "対応は不要。長く続くなら、指標が上限のすぐ下に張り付いている。",
        ),
    ),
];

pub(super) const RISK: &[Entry] = &[
    alert(
        "risk.halted",
        Critical,
        (
            "Trading is halted for all, or for this account, symbol or strategy; or it is reduce_only and the order would have opened risk. Halted stops the whole order, reduce_only what opens.",
            "If the halt is yours, nothing. Else find who set it and why (`noctus halts`) before anyone resumes.",
        ),
        (
            "全体、またはこの口座・銘柄・戦略が停止中である。あるいは reduce_only で、注文がリスクを増やすものだった。halted は注文全体を、reduce_only は新規分だけを止める。",
            "自分たちの停止なら対応は不要。そうでなければ、再開の前に誰がなぜ止めたかを確かめる (`noctus halts`)。",
        ),
    ),
    alert(
        "risk.forbidden_symbol",
        High,
        (
            "The symbol is in forbidden_symbols. The whole order stops, reductions too.",
            "Stop the strategy from asking for it. A position that must be closed needs the symbol taken off the list first.",
        ),
        (
            "銘柄が forbidden_symbols にある。減らす注文も含めて全体を止める。",
            "戦略側でこの銘柄を出さないようにする。建玉を閉じる必要があるなら、先に一覧から外す。",
        ),
    ),
    alert(
        "risk.trading_window",
        Medium,
        (
            "The decision falls outside of the trading hours. The whole order stops.",
            "Nothing, if the hours are as meant. Windows are half-open: at 22:00:00 a window that ends at 22:00 is closed.",
        ),
        (
            "決定の時刻が取引時間の外である。注文全体を止める。",
            "時間の設定が意図通りなら対応は不要。窓は半開区間で、22:00 までの窓は 22:00:00 に閉じている。",
        ),
    ),
    alert(
        "risk.price_unavailable",
        High,
        (
            "A notional limit is on and there is no price to hold it against: no usable quote, no fresh reference_price, or no rate to the account's currency; or a collar is on and there is no usable quote. Nothing opens; what reduces goes through.",
            "Look at the quotes topic: is the market data alive, is its clock right, is the pair for the rate quoted?",
        ),
        (
            "想定元本の上限があるのに、当てはめる価格が無い。使える気配値が無い、reference_price が古い、口座通貨への換算レートが無い、のいずれか。または価格カラーがあるのに使える気配値が無い。新規分は取らず、減らす分は通す。",
            "quotes トピックを確認する。市場データは流れているか、時計は合っているか、換算に要る通貨ペアの気配値はあるか。",
        ),
    ),
    alert(
        "risk.price_collar",
        High,
        (
            "The limit price is further from the quote's mid than price_collar_pct, on either side. The whole order stops.",
            "Check the producer's price: wrong digits, wrong symbol, or an old market.",
        ),
        (
            "指値が気配値の仲値から price_collar_pct より離れている (上下どちらでも)。注文全体を止める。",
            "送り手の価格を確認する。桁違い、銘柄違い、古い相場が多い。",
        ),
    ),
    alert(
        "risk.consecutive_losses",
        Low,
        (
            "The account has lost max_consecutive_losses times in a row on this symbol: what opens shrinks by shrink_after_losses_pct.",
            "Nothing. A reduction that gains ends the row.",
        ),
        (
            "この口座のこの銘柄で、max_consecutive_losses 回続けて損失が出た。新規分を shrink_after_losses_pct だけ縮小する。",
            "対応は不要。利益の出る決済で連敗は終わる。",
        ),
    ),
    alert(
        "risk.max_order_qty",
        Medium,
        (
            "The order is larger than max_order_qty. It is cut to it, what opens first.",
            "If the strategy means such sizes, it must split them or the limit must be raised.",
        ),
        (
            "注文が max_order_qty より大きい。上限まで切り詰める (新規分から先に)。",
            "戦略がその大きさを意図しているなら、分割するか、上限を上げる。",
        ),
    ),
    alert(
        "risk.rate",
        High,
        (
            "As many orders of the account and symbol were decided in the last 60 s as max_orders_per_minute allows. The whole order stops.",
            "Look for a producer that repeats itself with new keys. If it runs away, halt the strategy.",
        ),
        (
            "この口座・銘柄で直近 60 秒に決定した注文が max_orders_per_minute に達した。注文全体を止める。",
            "新しいキーで同じ注文を繰り返す送り手がないか調べる。暴走しているなら戦略を停止する。",
        ),
    ),
    alert(
        "risk.daily_loss",
        High,
        (
            "The account's realised loss of the UTC day has reached max_daily_loss. Nothing opens until the next UTC day; what reduces goes through.",
            "Nothing to unlock it but a new policy. Look at what has lost.",
        ),
        (
            "口座の当日 (UTC) の実現損失が max_daily_loss に達した。翌 UTC 日まで新規のリスクは取らない。減らす分は通す。",
            "解除するにはポリシーを変えるしかない。損失の原因を調べる。",
        ),
    ),
    alert(
        "risk.max_trace_notional",
        High,
        (
            "What this trace has opened and this order would be more than max_trace_notional. What opens is cut to what is left of the budget.",
            "Look at the trace: one run of the loop asks for more than it may.",
        ),
        (
            "このトレースが既に取った額と今回の額の和が max_trace_notional を超える。新規分を残りの枠まで切り詰める。",
            "トレースを確認する。一回のループが許された以上を求めている。",
        ),
    ),
    alert(
        "risk.max_position_notional",
        High,
        (
            "The position in the worst case (working orders all filled) would be above max_position_notional. What opens is cut to what fits.",
            "Nothing, if the cap is as meant. It is money in the account's currency, not units: 150 000 yen are 990 USDJPY.",
        ),
        (
            "最悪の場合 (出ている注文がすべて約定) の建玉が max_position_notional を超える。新規分を収まる量まで切り詰める。",
            "上限が意図通りなら対応は不要。単位は数量ではなく口座通貨の金額で、15 万円は USDJPY 約 990 単位である。",
        ),
    ),
    alert(
        "risk.below_min_qty",
        Low,
        (
            "What is left is 0 after rounding down to the instrument's qty_step, or below its min_qty. It is never rounded up.",
            "Nothing, or ask for more.",
        ),
        (
            "qty_step に切り捨てた結果が 0 か、min_qty を下回る。切り上げはしない。",
            "対応は不要。必要なら数量を増やす。",
        ),
    ),
    alert(
        "risk.gate_error",
        Critical,
        (
            "Something did not fit exact arithmetic (28 digits), so nothing passes: the order is FLAT.",
            "Look at the order's numbers and the position: one of them is absurd, or a contract size or rate is.",
        ),
        (
            "正確な計算 (28 桁) に収まらない数があったため、何も通さず FLAT とした。",
            "注文の数値、建玉、契約サイズ、レートのどれかが異常に大きい。確認する。",
        ),
    ),
];

pub(super) const DECISIONS: &[Entry] = &[
    alert(
        "do.expired",
        Low,
        (
            "The request came too late, past its valid_until, or from a clock that is more than 5 s ahead. It is decided REJECT; its key stays so.",
            "If it happens often, look at the producer's clock and at the consumer's lag.",
        ),
        (
            "要求が遅すぎた、valid_until を過ぎていた、または送り手の時計が 5 秒を超えて進んでいた。REJECT と決定し、そのキーは以後もそのままである。",
            "頻発するなら、送り手の時計とコンシューマの遅れを確認する。",
        ),
    ),
    alert(
        "do.cancelled_before",
        Low,
        (
            "An order came after the command that cancels it: it is decided REJECT and never sent; its key stays so.",
            "Nothing. If it happens often, the producer's commands overtake its orders: look at the lag of order-requests.",
        ),
        (
            "注文が、それを取り消す指令より後に来た。REJECT と決定し、送らない。そのキーは以後もそのままである。",
            "対応は不要。頻発するなら、指令が注文を追い越している。order-requests の遅れを確認する。",
        ),
    ),
    entry(
        Decision,
        "cancelled",
        None,
        (
            "REJECT: a command had cancelled the order before it came.",
            "Send it again with a new key, if it is wanted after all.",
        ),
        (
            "REJECT。注文が来る前に、指令がその注文を取り消していた。",
            "やはり必要なら、新しいキーで送り直す。",
        ),
    ),
    entry(
        Decision,
        "expired",
        None,
        (
            "REJECT: requested more than 5 min ago (MARKET, IOC, FOK) or 24 h ago (the rest), or decided after valid_until.",
            "Send it again with a new key and a new time, if it is still wanted.",
        ),
        (
            "REJECT。要求から 5 分 (MARKET・IOC・FOK) または 24 時間 (その他) を超えたか、valid_until の後だった。",
            "まだ必要なら、新しいキーと時刻で送り直す。",
        ),
    ),
    entry(
        Decision,
        "from_the_future",
        None,
        (
            "REJECT: requested_at is more than 5 s ahead of the gate's clock.",
            "Set the producer's clock right (NTP), then send it again with a new key.",
        ),
        (
            "REJECT。requested_at がゲートの時計より 5 秒を超えて進んでいる。",
            "送り手の時計を直し (NTP)、新しいキーで送り直す。",
        ),
    ),
    entry(
        Step,
        "engine.rollout",
        None,
        (
            "The engine's quantity × rollout_percent, rounded down to 6 decimals.",
            "Nothing. The stages are 7, 30 and 100 percent.",
        ),
        (
            "エンジンの数量 × rollout_percent。小数 6 桁に切り捨てる。",
            "対応は不要。段階は 7 → 30 → 100 % である。",
        ),
    ),
    entry(
        Step,
        "quality",
        None,
        (
            "What opens × the quality gate's multiplier, rounded down to 6 decimals. The step's reason names the metric.",
            "See the PLAN.QUALITY alert of the same trace.",
        ),
        (
            "新規分 × 品質ゲートの係数。小数 6 桁に切り捨てる。どの指標によるかは step の reason にある。",
            "同じトレースの PLAN.QUALITY アラートを見る。",
        ),
    ),
    entry(
        Step,
        "risk.qty_step",
        None,
        (
            "Rounded down to a multiple of the instrument's qty_step. That alone fires nothing.",
            "Nothing.",
        ),
        ("銘柄の qty_step の倍数に切り捨てた。これだけではアラートは出ない。", "対応は不要。"),
    ),
];
