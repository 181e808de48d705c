//! Tables for a terminal: no lines, a header, one row a thing.

use comfy_table::{ContentArrangement, Table, presets};

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
