//! What Postgres holds, asked by `psql` in the environment that leads to it (`PGHOST`, `PGDATABASE`, …).

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Runs a query; returns its rows as text, columns parted by `|`.
pub(crate) async fn query(sql: &str) -> anyhow::Result<Vec<String>> {
    let output = Command::new("psql").args(["-AtXq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output();
    let output = output.await.context("cannot run psql")?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// The only number that a query returns.
pub(crate) async fn number(sql: &str) -> anyhow::Result<i64> {
    let rows = query(sql).await?;
    rows.first().context("no row")?.parse().context("not a number")
}

/// Bytes of every table with its indexes, the largest first.
pub(crate) async fn sizes() -> anyhow::Result<Vec<(String, i64, i64)>> {
    let rows = query(
        "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class \
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY pg_total_relation_size(oid) DESC",
    );
    rows.await?
        .iter()
        .map(|row| {
            let mut fields = row.split('|');
            let mut next = || fields.next().context("a field is missing");
            Ok((next()?.to_owned(), next()?.parse()?, next()?.parse()?))
        })
        .collect()
}
