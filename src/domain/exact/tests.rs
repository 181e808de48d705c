//! Exact arithmetic against an oracle of unlimited whole numbers.

use super::*;
use proptest::prelude::*;

fn exact(text: &str) -> Exact {
    Decimal::from_str_exact(text).unwrap().into()
}

#[test]
fn a_quotient_is_rounded_down_and_an_exact_one_is_not() {
    for (dividend, unit, quotient) in [
        ("100000", "151.22", "661.288189"),
        ("1", "3", "0.333333"),
        ("3", "0.5", "6"),
        ("-1", "2", "0"),
        ("0.0000001", "1", "0"),
        ("7", "0.0000000000000000000000000001", "70000000000000000000000"),
    ] {
        let got = exact(dividend).over_down(exact(unit), 6);
        if dividend == "7" {
            assert_eq!(got, Err(Overflow));
            continue;
        }
        assert_eq!(got.unwrap(), quotient.parse().unwrap(), "{dividend} / {unit}");
    }
}

#[test]
fn a_sum_drops_what_is_too_fine_and_refuses_what_is_too_large() {
    let fine = exact("0.0000000000000000000000000001");
    let finer = fine.times_up(exact("0.0000001")).unwrap();
    let large = exact("79228162514264337593543950335");
    let (a, b) = (finer.plus_down(large).unwrap(), large.plus_down(finer).unwrap());
    assert_eq!((a, b.cut(9)), (b, Ok(Decimal::MAX)));
    assert_eq!(fine.plus(large), Err(Overflow));
    let most = Exact { mantissa: i128::MAX, scale: 0 };
    assert_eq!(most.plus_down(Exact::ONE), Err(Overflow));
}

#[test]
fn comparing_never_fails_however_far_apart() {
    let tiny = exact("0.0000000000000000000000000001");
    let tiny = tiny.times_up(tiny).unwrap();
    let huge = exact("79228162514264337593543950335");
    assert_eq!((tiny.cmp(&huge), huge.cmp(&tiny)), (Ordering::Less, Ordering::Greater));
    let minus = Exact { mantissa: -huge.mantissa, ..huge };
    assert_eq!((minus.cmp(&tiny), tiny.cmp(&minus)), (Ordering::Less, Ordering::Greater));
    let tinier = Exact { mantissa: -1, scale: 56 };
    assert_eq!(
        (tiny.cmp(&Exact::ZERO), Exact::ZERO.cmp(&tiny)),
        (Ordering::Greater, Ordering::Less)
    );
    assert_eq!(
        (tinier.cmp(&Exact::ZERO), Exact::ZERO.cmp(&tinier)),
        (Ordering::Less, Ordering::Greater)
    );
    assert_eq!(Exact { mantissa: 0, scale: 56 }, Exact::ZERO);
}

/// A whole number of any size, 32 bits a limb, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wide(Vec<u32>);

impl Wide {
    fn of(number: i128) -> Self {
        let mut rest = number.unsigned_abs();
        let mut limbs = Vec::new();
        while rest > 0 {
            limbs.push(rest as u32);
            rest >>= 32;
        }
        Self(limbs)
    }

    fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0_u32; self.0.len() + other.0.len()];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (j, b) in other.0.iter().enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = sum as u32;
                carry = sum >> 32;
            }
            limbs[i + other.0.len()] = carry as u32;
        }
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self(limbs)
    }

    /// The mantissa of a number, brought to `scale` decimals.
    fn at(number: Exact, scale: u32) -> Self {
        (number.scale..scale).fold(Self::of(number.mantissa), |n, _| n.times(&Self::of(10)))
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_limbs = || self.0.iter().rev().cmp(other.0.iter().rev());
        self.0.len().cmp(&other.0.len()).then_with(by_limbs)
    }
}

/// How `a` compares with `b · c`, exactly; none of them is negative.
fn against_product(a: Exact, b: Exact, c: Exact) -> Ordering {
    let scale = a.scale.max(b.scale + c.scale);
    let product = Wide::of(b.mantissa).times(&Wide::of(c.mantissa));
    let product = (b.scale + c.scale..scale).fold(product, |n, _| n.times(&Wide::of(10)));
    Wide::at(a, scale).cmp(&product)
}

/// Numbers of 0 or more: any mantissa, and those at the ends.
fn any_exact() -> impl Strategy<Value = Exact> {
    let mantissa = prop_oneof![
        Just(0_i128),
        Just(1),
        Just(i128::MAX),
        Just(i128::from(u64::MAX)),
        (0i128..i128::MAX),
        (0i64..).prop_map(i128::from),
        (0i32..).prop_map(i128::from),
    ];
    (mantissa, 0u32..57).prop_map(|(mantissa, scale)| Exact { mantissa, scale })
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![Just(0_i128), 0i128..(1 << 96) - 1, (0i64..).prop_map(i128::from)];
    (mantissa, 0u32..=28).prop_map(|(m, s)| Decimal::from_i128_with_scale(m, s))
}

proptest! {
    #![proptest_config(crate::domain::laws::cases())]

    #[test]
    fn a_product_is_never_on_the_wrong_side_of_the_true_one(a in any_exact(), b in any_exact()) {
        if let Ok(down) = a.times_down(b) {
            prop_assert_ne!(against_product(down, a, b), Ordering::Greater);
        }
        if let Ok(up) = a.times_up(b) {
            prop_assert_ne!(against_product(up, a, b), Ordering::Less);
        }
    }

    #[test]
    fn a_product_of_what_a_wire_carries_is_exact(a in 0i64.., b in 0i64.., scales in (0u32..20, 0u32..20)) {
        let (a, b) = (Exact { mantissa: a.into(), scale: scales.0 }, Exact { mantissa: b.into(), scale: scales.1 });
        let (down, up) = (a.times_down(b).unwrap(), a.times_up(b).unwrap());
        prop_assert_eq!(down, up);
        prop_assert_eq!(against_product(down, a, b), Ordering::Equal);
    }

    #[test]
    fn what_goes_into_a_cap_fits_it_and_one_more_step_does_not(cap in any_exact(), unit in any_exact(), decimals in 0u32..=6) {
        prop_assume!(unit.mantissa > 0);
        if let Ok(quotient) = cap.over_down(unit, decimals) {
            prop_assert_ne!(against_product(cap, quotient.into(), unit), Ordering::Less);
            let step = Decimal::new(1, decimals);
            // Only a unit that is too long for the division is raised, and then less may go into the cap.
            let short = unit.mantissa < i64::MAX.into() && cap.mantissa < i64::MAX.into() && unit.scale < 10;
            if let (true, Some(next)) = (short, quotient.checked_add(step)) {
                prop_assert_ne!(against_product(cap, next.into(), unit), Ordering::Greater);
                prop_assert_ne!(against_product(cap, next.into(), unit), Ordering::Equal);
            }
        }
    }

    #[test]
    fn what_is_cut_is_less_and_what_is_raised_is_more_by_less_than_a_step(n in any_exact(), decimals in 0u32..=28) {
        let step = Exact { mantissa: 1, scale: decimals };
        if let Ok(cut) = n.cut(decimals) {
            prop_assert_ne!(against_product(cut.into(), n, Exact::ONE), Ordering::Greater);
            prop_assert!(cut.scale() <= decimals);
            // 28 digits may leave fewer decimals than were asked for.
            if let (Ok(next), true) = (Exact::from(cut).plus(step), n.mantissa < 1 << 90) {
                prop_assert_eq!(against_product(next, n, Exact::ONE), Ordering::Greater);
            }
        }
        if let Ok(raised) = n.raised(decimals) {
            prop_assert_ne!(against_product(raised.into(), n, Exact::ONE), Ordering::Less);
            prop_assert!(raised.scale() <= decimals);
        }
    }

    #[test]
    fn a_sum_is_exact_or_refused_and_plus_down_is_never_more(a in any_exact(), b in any_exact()) {
        let scale = a.scale.max(b.scale);
        let true_sum = {
            let (x, y) = (Wide::at(a, scale), Wide::at(b, scale));
            let mut limbs = Vec::new();
            let mut carry = 0_u64;
            for i in 0..x.0.len().max(y.0.len()) {
                let limb = |n: &Wide| u64::from(n.0.get(i).copied().unwrap_or(0));
                let sum = limb(&x) + limb(&y) + carry;
                limbs.push(sum as u32);
                carry = sum >> 32;
            }
            if carry > 0 {
                limbs.push(carry as u32);
            }
            Wide(limbs)
        };
        if let Ok(sum) = a.plus(b) {
            prop_assert_eq!(Wide::at(sum, scale), true_sum.clone());
        }
        if let Ok(sum) = a.plus_down(b) {
            prop_assert_ne!(Wide::at(sum, scale).cmp(&true_sum), Ordering::Greater);
        }
        let (more, less) = if a >= b { (a, b) } else { (b, a) };
        if let Ok(difference) = more.minus(less) {
            prop_assert_eq!(difference.plus(less).map(|sum| sum == more), Ok(true));
        }
    }

    #[test]
    fn comparing_agrees_with_the_oracle(a in any_exact(), b in any_exact()) {
        let scale = a.scale.max(b.scale);
        let oracle = Wide::at(a, scale).cmp(&Wide::at(b, scale));
        prop_assert_eq!(a.cmp(&b), oracle);
        let minus = |n: Exact| Exact { mantissa: -n.mantissa, ..n };
        prop_assert_eq!(minus(b).cmp(&minus(a)), oracle);
    }

    #[test]
    fn a_decimal_comes_back_as_it_was(n in any_decimal()) {
        prop_assert_eq!(Exact::from(n).cut(28), Ok(n.normalize()));
        prop_assert_eq!(Exact::from(n).raised(28), Ok(n.normalize()));
        prop_assert_eq!(crate::domain::money::read(&n.to_string()), Some(n.normalize()));
    }
}
