//! Tests how errors of statements are classified, and which statements are forbidden.

use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use super::{StoreError, connect, pool};

async fn connection() -> AsyncPgConnection {
    let host = std::env::var("PGHOST").expect("PGHOST names the test database's host or socket folder");
    let user = std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned());
    pool::connect(&format!("host={host} user={user} dbname=postgres")).await.expect("Postgres runs")
}

async fn failure(conn: &mut AsyncPgConnection, sql: &str) -> StoreError {
    let failure = diesel::sql_query(sql).execute(conn).await.map_err(StoreError::query("tests.failure"));
    failure.expect_err(sql)
}

#[tokio::test]
async fn sqlstates_tell_whose_fault_a_failure_is() {
    let mut conn = connection().await;
    conn.batch_execute(
        "CREATE TEMPORARY TABLE once (id int PRIMARY KEY, name text); INSERT INTO once VALUES (1, '')",
    )
    .await
    .expect("the table is made");
    let raise =
        |code: &str| format!("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}', HINT = 'y'; END $$");
    let twice = "INSERT INTO once VALUES (2, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET name = 'c'";
    for (sql, code, of_record, ours) in [
        (r#"SELECT '{"reason": "\u0000"}'::json #>> '{reason}'"#.to_owned(), "22P05", true, true),
        ("SELECT 1 / (id - 1) FROM once".to_owned(), "22012", true, true),
        ("INSERT INTO once VALUES (1, '')".to_owned(), "23505", true, true),
        (twice.to_owned(), "21000", true, true),
        ("INSERT INTO once VALUES (3, ''); SELECT 1".to_owned(), "42601", false, true),
        ("SELECT nothing FROM once".to_owned(), "42703", false, true),
        (raise("54000"), "54000", true, true),
        (raise("40P01"), "40P01", false, false),
        (raise("53100"), "53100", false, false),
        (raise("53200"), "53200", false, false),
        ("SET statement_timeout = 10; ".to_owned(), "", false, false),
    ] {
        if code.is_empty() {
            conn.batch_execute(&sql).await.expect("it is set");
            let slow = failure(&mut conn, "SELECT pg_sleep(10)").await;
            assert!(!slow.is_deterministic() && !slow.is_our_fault(), "{slow:?}");
            continue;
        }
        let failure = failure(&mut conn, &sql).await;
        let StoreError::Query { source, .. } = &failure else { panic!("{failure:?}") };
        assert_eq!(connect::sqlstate_of(source), Some(code), "{sql}: {failure:?}");
        assert_eq!((failure.is_deterministic(), failure.is_our_fault()), (of_record, ours), "{sql}");
    }
}

/// What reads JSON in SQL.
const JSON_IN_SQL: [&str; 11] = [
    ")::json",
    "::json #",
    "::json -",
    "::jsonb",
    "#>",
    "->>",
    "convert_from",
    "json_array",
    "jsonb_",
    "json_typeof",
    "json_each",
];

/// Postgres refuses text with U+0000 from JSON, whatever else the statement is about.
#[test]
fn no_statement_reads_json() {
    fn look(folder: &std::path::Path, files: &mut usize) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the entry is read").path();
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                look(&path, files);
            } else if name.ends_with(".rs")
                && !name.starts_with("tests")
                && !path.iter().any(|part| part == "tests")
            {
                *files += 1;
                let text = std::fs::read_to_string(&path).expect("the file is read");
                for mark in JSON_IN_SQL {
                    assert!(!text.contains(mark), "{} reads JSON in SQL: {mark}", path.display());
                }
            }
        }
    }
    let mut files = 0;
    look(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files > 100, "only {files} files were looked at");
}
