//! Owns what is known of instruments and accounts (`configs/instruments.yml`): sizes, steps, currencies.
//! Never guesses a currency that a name does not tell: then there is no rate, and nothing opens (C-RISK-3).

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::read::{Bounds, Section, below, scalar, shown};
use super::tree::{self, Node};
use super::violation::{BadPolicy, Violations};
use crate::domain::money::{QTY_DECIMALS, has_at_most};
use crate::domain::text::{Account, Symbol};

/// An ISO 4217 code, e.g. `JPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Three upper-case letters.
    pub fn new(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }
    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is upper-case letters")
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// What is known of one instrument.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instrument {
    /// What one unit is worth in units of the base.
    pub contract_size: Decimal,
    /// Quantities are multiples of it; at most 6 decimals.
    pub qty_step: Decimal,
    /// The least quantity that may be sent.
    pub min_qty: Decimal,
    /// What its price is in; unless given, the last three letters of a symbol of six.
    pub quote_currency: Option<Currency>,
}

impl Default for Instrument {
    fn default() -> Self {
        Self {
            contract_size: Decimal::ONE,
            qty_step: Decimal::new(1, QTY_DECIMALS),
            min_qty: Decimal::ZERO,
            quote_currency: None,
        }
    }
}

/// Instruments and the currencies of accounts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstrumentsPolicy {
    /// The currency of every account that is not in `accounts`.
    pub account_currency: Currency,
    /// Currencies of single accounts.
    pub accounts: BTreeMap<Account, Currency>,
    /// What is known of each symbol.
    pub symbols: BTreeMap<Symbol, Instrument>,
    /// What holds for any other symbol.
    pub other: Instrument,
}

/// The file as it is shipped.
pub const PLAN: &str = include_str!("../../../configs/instruments.yml");

/// The plan's limits are in yen.
const YEN: Currency = Currency(*b"JPY");

impl Default for InstrumentsPolicy {
    fn default() -> Self {
        Self::parse("instruments.yml", PLAN).expect("the shipped file is a good policy")
    }
}

impl InstrumentsPolicy {
    /// What is known of a symbol.
    pub fn for_symbol(&self, symbol: &Symbol) -> &Instrument {
        self.symbols.get(symbol).unwrap_or(&self.other)
    }

    /// What a symbol's price is in, if that is known.
    pub fn quote_currency(&self, symbol: &Symbol) -> Option<Currency> {
        self.for_symbol(symbol).quote_currency.or_else(|| {
            let letters = symbol.len() == 6 && symbol.bytes().all(|b| b.is_ascii_uppercase());
            letters.then(|| Currency::new(&symbol[3..])).flatten()
        })
    }

    /// What an account is kept in.
    pub fn account_currency(&self, account: &Account) -> Currency {
        self.accounts.get(account).copied().unwrap_or(self.account_currency)
    }

    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut policy = Self {
            account_currency: YEN,
            accounts: BTreeMap::new(),
            symbols: BTreeMap::new(),
            other: Instrument::default(),
        };
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            if let Some(node) = section.take("account_currency") {
                let given = currency(node, "account_currency", &mut found);
                policy.account_currency = given.unwrap_or(YEN);
            }
            if let Some(node) = section.take("accounts") {
                policy.accounts = accounts(node, &mut found);
            }
            // Symbols are upper case, so they never meet the keys above.
            for (key, node) in section.rest() {
                let instrument = instrument(node, &key.text, &mut found);
                match Symbol::new(&key.text) {
                    Ok(symbol) => drop(policy.symbols.insert(symbol, instrument)),
                    Err(_) => {
                        let what = format!(
                            "must be account_currency, accounts or a symbol {}",
                            Symbol::ALLOWED
                        );
                        found.add(key.place, &key.text, what);
                    }
                }
            }
        }
        found.verdict(policy)
    }
}

fn currency(node: &Node, path: &str, found: &mut Violations) -> Option<Currency> {
    let currency = scalar(node).and_then(Currency::new);
    if currency.is_none() {
        let what = format!("must be a currency of three upper-case letters, found {}", shown(node));
        found.add(node.place, path, what);
    }
    currency
}

fn accounts(node: &Node, found: &mut Violations) -> BTreeMap<Account, Currency> {
    let mut all = BTreeMap::new();
    for (key, node) in Section::of(node, "accounts", found).rest() {
        let path = below("accounts", &key.text);
        let currency = currency(node, &path, found);
        match Account::new(&key.text) {
            Ok(account) => drop(currency.map(|c| all.insert(account, c))),
            Err(wrong) => found.add(key.place, &path, wrong.to_string()),
        }
    }
    all
}

fn instrument(node: &Node, path: &str, found: &mut Violations) -> Instrument {
    let base = Instrument::default();
    let mut section = Section::of(node, path, found);
    let mut number = |key, before: Decimal, found: &mut Violations| {
        section.decimal(key, Bounds::LIMIT, found).over(before, before)
    };
    let instrument = Instrument {
        contract_size: number("contract_size", base.contract_size, found),
        qty_step: number("qty_step", base.qty_step, found),
        min_qty: number("min_qty", base.min_qty, found),
        quote_currency: match section.take("quote_currency") {
            Some(node) => currency(node, &below(path, "quote_currency"), found),
            None => None,
        },
    };
    section.end(found);
    for (key, value) in
        [("contract_size", instrument.contract_size), ("qty_step", instrument.qty_step)]
    {
        if value.is_zero() {
            found.add(node.place, &below(path, key), "must be above 0");
        }
    }
    for (key, value) in [("qty_step", instrument.qty_step), ("min_qty", instrument.min_qty)] {
        if !has_at_most(value, QTY_DECIMALS) {
            found.add(node.place, &below(path, key), "has at most 6 decimals");
        }
    }
    instrument
}
