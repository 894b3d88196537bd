//! A list that is fetched page by page while it is read.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use tessera_api_types::{Page, headers};

use super::client::{Client, Request};
use super::error::Error;
use super::path::PathAndQuery;

/// The items of a list. At most one page is held.
#[derive(Debug)]
pub struct Listing<T> {
    client: Client,
    path: PathAndQuery,
    page_limit: u32,
    fetched: VecDeque<T>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    Cursor(String),
    End,
}

impl<T: DeserializeOwned> Listing<T> {
    pub(crate) fn new(client: &Client, path: PathAndQuery) -> Self {
        Self {
            client: client.clone(),
            path,
            page_limit: headers::PAGE_LIMIT_MAX,
            fetched: VecDeque::new(),
            next: Next::First,
        }
    }

    /// How many items a request asks for: 1 to 500. Default 500.
    #[must_use]
    pub const fn page_limit(mut self, items: u32) -> Self {
        self.page_limit = items;
        self
    }

    /// The next item; `None` at the end. After an error the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        // A page may be empty and yet not the last.
        while self.fetched.is_empty() {
            let cursor = match &self.next {
                Next::End => return Ok(None),
                Next::First => None,
                Next::Cursor(cursor) => Some(cursor.as_str()),
            };
            let mut path = self
                .path
                .clone()
                .with("limit", &self.page_limit.to_string());
            if let Some(cursor) = cursor {
                path = path.with("cursor", cursor);
            }
            let page: Page<T> = self.client.send(Request::get(path)).await?.json()?;
            self.fetched = page.data.into();
            self.next = page.next_cursor.map_or(Next::End, Next::Cursor);
        }
        Ok(self.fetched.pop_front())
    }

    /// All items, up to `items_max` of them.
    pub async fn collect(mut self, items_max: usize) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        while items.len() < items_max
            && let Some(item) = self.next().await?
        {
            items.push(item);
        }
        Ok(items)
    }
}
