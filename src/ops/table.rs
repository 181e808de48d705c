//! Tables for a terminal: no lines, a header, one row a thing; and text that a terminal does not act on.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table of these columns.
pub fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table
}

/// Numbers stand under each other: these columns are aligned to the right.
pub fn numbers(mut table: Table, columns: impl IntoIterator<Item = usize>) -> Table {
    for at in columns {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Text, without what a terminal would act on; hex if it is no text.
pub fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_string(),
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => format!("0x{}", hex::encode(bytes)),
    }
}
