//! Queries with constant SQL, so that each connection prepares them once.
//!
//! Diesel does not cache statements made by `sql_query`, as it cannot know that their text never changes.

/// Makes a function that runs a query and returns its rows.
///
/// Each `?` of the SQL stands for the next argument: an argument that is needed twice is put into a `WITH`.
macro_rules! query {
    (
        $(#[$meta:meta])*
        fn $name:ident<$life:lifetime>(
            $($bind:ident: $type:ty as $sql_type:ty),+ $(,)?
        ) -> $row:ty as ($($column:ty),+ $(,)?) = $sql:expr;
    ) => {
        $(#[$meta])*
        pub(crate) async fn $name<$life>(
            conn: &$life ::diesel_async::AsyncPgConnection,
            $($bind: &$life $type),+
        ) -> Result<Vec<$row>, $crate::store::StoreError> {
            #[derive(Debug)]
            struct Query<$life> {
                $($bind: &$life $type),+
            }

            impl ::diesel::query_builder::QueryId for Query<'_> {
                type QueryId = Query<'static>;
                const HAS_STATIC_QUERY_ID: bool = true;
            }

            impl ::diesel::query_builder::Query for Query<'_> {
                type SqlType = ($($column,)+);
            }

            impl ::diesel::query_builder::QueryFragment<::diesel::pg::Pg> for Query<'_> {
                fn walk_ast<'b>(
                    &'b self,
                    mut out: ::diesel::query_builder::AstPass<'_, 'b, ::diesel::pg::Pg>,
                ) -> ::diesel::QueryResult<()> {
                    let mut pieces = $sql.split('?');
                    $(
                        out.push_sql(pieces.next().unwrap_or_default());
                        out.push_bind_param::<$sql_type, $type>(self.$bind)?;
                    )+
                    out.push_sql(pieces.next().unwrap_or_default());
                    Ok(())
                }
            }

            let query = Query { $($bind),+ };
            ::diesel_async::RunQueryDsl::load::<$row>(query, &mut &*conn)
                .await
                .map_err($crate::store::StoreError::query(concat!(module_path!(), "::", stringify!($name))))
        }
    };
}

pub(crate) use query;
