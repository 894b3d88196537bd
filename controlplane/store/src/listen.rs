//! News that the configuration changed. Only "there is something": the truth is read by number.

use sqlx::postgres::PgListener;

use crate::error::StoreError;
use crate::store::Store;

/// The channel that the outbox announces on (migration 0002).
const CHANNEL: &str = "tessera_config";

/// A connection that hears of changes, whoever commits them.
#[derive(Debug)]
pub struct News(PgListener);

impl Store {
    /// Listens, with a connection of its own.
    pub async fn listen(&self) -> Result<News, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(News(listener))
    }
}

impl News {
    /// Waits for news. Some may be missed while the connection is lost: then this returns too.
    pub async fn wait(&mut self) -> Result<(), StoreError> {
        self.0.try_recv().await?;
        Ok(())
    }
}
