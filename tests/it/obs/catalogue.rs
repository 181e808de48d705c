//! The catalogue and its page: every table, view and column is told in both, in the same words.

use super::base::Base;

const COLUMNS: &str = "
    SELECT c.relname, a.attname, format_type(a.atttypid, NULL), col_description(c.oid, a.attnum),
           obj_description(c.oid, 'pg_class')
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relname LIKE 'obs\\_%' AND c.relkind IN ('p','v','m','r') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
     ORDER BY c.relname, a.attnum";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_view_and_column_says_what_it_is_and_so_does_its_page() {
    let base = Base::new().await;
    let client = base.pool.get().await.unwrap();
    let path = format!("{}/docs/tables.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(&path).unwrap();
    let mut wanted = 0;
    for row in client.query(COLUMNS, &[]).await.unwrap() {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let about: Option<String> = row.get(3);
        let about = about.unwrap_or_else(|| panic!("{table}.{column} has no comment"));
        let of_table: Option<String> = row.get(4);
        let of_table = of_table.unwrap_or_else(|| panic!("{table} has no comment"));
        let section = page.split("\n### ").find(|s| s.lines().next() == Some(&table));
        let section = section.unwrap_or_else(|| panic!("{path} has no section {table}"));
        assert!(section.contains(&of_table), "{path}: {table} is told otherwise: {of_table}");
        let line = format!("| `{column}` | {kind} | {} |", about.replace('|', "\\|"));
        assert!(section.contains(&line), "{path}: {table} wants the line\n{line}");
        wanted += 1;
    }
    let told = page.lines().filter(|l| l.starts_with("| `")).count();
    assert_eq!(told, wanted, "{path} tells columns that do not exist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queries_of_the_page_run() {
    let base = Base::new().await;
    let path = format!("{}/docs/tables.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(&path).unwrap();
    let blocks = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let queries: Vec<&str> = blocks.flat_map(|b| b.split_inclusive(";\n")).collect();
    assert!(queries.len() >= 5, "{queries:?}");
    let client = base.pool.get().await.unwrap();
    for query in queries {
        client.batch_execute(query).await.unwrap_or_else(|e| panic!("{query}\n{e:?}"));
    }
}
