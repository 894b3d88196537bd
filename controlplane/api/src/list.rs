//! Pages of lists.

use serde::Deserialize;
use tessera_api_types::headers::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX};
use tessera_api_types::{ErrorCode, Page};
use tessera_domain::ListName;
use time::OffsetDateTime;
use utoipa::IntoParams;

use crate::app::App;
use crate::error::ApiError;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Items at most: 1 to 500, 50 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// One page that is being read: where it starts and how much it holds.
pub(crate) struct Paging<'a> {
    app: &'a App,
    list: ListName,
    limit: u32,
    /// The key of the last item before it; empty at the start.
    pub(crate) after: String,
}

impl<'a> Paging<'a> {
    /// Reads the parameters for the list that `name` names, filters included.
    pub(crate) fn new(app: &'a App, name: String, params: ListParams) -> Result<Self, ApiError> {
        let limit = params.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
        if !(1..=PAGE_LIMIT_MAX).contains(&limit) {
            let detail = format!("`limit` must be 1 to {PAGE_LIMIT_MAX}, not {limit}");
            return Err(ApiError::new(ErrorCode::InvalidParameter, detail));
        }
        let list = ListName(name);
        let after = match params.cursor {
            None => String::new(),
            Some(cursor) => app
                .cursors
                .open(&list, &cursor, unix_now())
                .map_err(|error| ApiError::new(ErrorCode::InvalidCursor, error.to_string()))?,
        };
        Ok(Self {
            app,
            list,
            limit,
            after,
        })
    }

    /// How many rows to read: one more than the page holds, to know whether there is a next.
    pub(crate) const fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// The page of the rows that were read, with `key_of` each.
    pub(crate) fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        key_of: impl Fn(&R) -> String,
        shape: impl Fn(R) -> T,
    ) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor =
            last.map(|row| self.app.cursors.seal(&self.list, &key_of(row), unix_now()));
        Page {
            data: rows.into_iter().map(shape).collect(),
            next_cursor,
        }
    }
}

fn unix_now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0)
}
