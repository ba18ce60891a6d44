//! Statements with constant SQL whose values are arrays: prepared once per connection, whatever the size of the batch.
//!
//! Diesel's own multi-row inserts have as many placeholders as values, so that each size is another statement, and
//! `sql_query` is never kept prepared.

/// Declares a statement: a struct whose fields are its parameters, in order, between two pieces of SQL.
macro_rules! statement {
    (
        $(#[$doc:meta])*
        $name:ident { $($field:ident: $sql:ty => $rust:ty),+ $(,)? }
        $before:expr, $after:expr
    ) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name<'a> {
            $(pub(crate) $field: $rust,)+
            pub(crate) lifetime: std::marker::PhantomData<&'a ()>,
        }

        impl $name<'_> {
            /// Its name in errors.
            pub(crate) const NAME: &'static str = stringify!($name);
        }

        impl diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name<'_> {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                out.push_sql($before);
                let mut separator = "";
                $(
                    out.push_sql(separator);
                    separator = ", ";
                    out.push_bind_param::<$sql, _>(&self.$field)?;
                )+
                let _: &str = separator;
                out.push_sql($after);
                Ok(())
            }
        }
    };
}

/// Declares a statement that returns rows of the given SQL types.
macro_rules! query {
    (
        $(#[$doc:meta])*
        $name:ident { $($field:ident: $sql:ty => $rust:ty),+ $(,)? } -> $returns:ty,
        $before:expr, $after:expr
    ) => {
        $crate::store::statement::statement! {
            $(#[$doc])*
            $name { $($field: $sql => $rust),+ } $before, $after
        }

        impl diesel::query_builder::Query for $name<'_> {
            type SqlType = $returns;
        }
    };
}

pub(crate) use {query, statement};
