//! Stored answers to requests with an `Idempotency-Key`. An answer is stored in the transaction of
//! its effect, so that there is never one without the other, however a process ends.

use tessera_domain::SealedAnswer;
use tessera_domain::idempotency::IDEMPOTENCY_SECONDS;
use tessera_tenancy::{ApiKeyId, SecretDigest, TenantId};

use crate::convert::{digest_bytes, id_bytes};
use crate::error::StoreError;
use crate::store::{Store, Tx, View};

/// Rows that one step of pruning deletes at most.
const PRUNE_ROWS_MAX: i64 = 5_000;

/// What a key finds.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: the caller goes on, and stores its answer in this transaction.
    Fresh,
    /// The answer to a request that went before.
    Answered(StoredAnswer),
    /// A request with the same key is running now.
    Running,
}

/// A stored answer.
#[derive(Debug)]
pub struct StoredAnswer {
    /// Of the request that it answers.
    pub fingerprint: SecretDigest,
    /// The answer.
    pub sealed: SealedAnswer,
}

impl Tx {
    /// Looks a key up, and holds it until the transaction ends.
    pub async fn claim_answer(
        &mut self,
        caller: ApiKeyId,
        lookup: &SecretDigest,
    ) -> Result<Claim, StoreError> {
        let held = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock($1) as "held!""#,
            lock_of(lookup)
        )
        .fetch_one(&mut *self.sql)
        .await?;
        if !held {
            return Ok(Claim::Running);
        }
        let row = sqlx::query!(
            r#"select fingerprint, salt, sealed from idempotent_answers
            where api_key_id = $1 and lookup = $2 and created_at >= now() - make_interval(secs => $3)"#,
            caller.as_bytes(),
            lookup.as_bytes(),
            seconds_kept()
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        let Some(row) = row else {
            return Ok(Claim::Fresh);
        };
        Ok(Claim::Answered(StoredAnswer {
            fingerprint: SecretDigest::from_bytes(digest_bytes(&row.fingerprint)?),
            sealed: SealedAnswer {
                salt: id_bytes(&row.salt)?,
                bytes: row.sealed,
            },
        }))
    }

    /// Stores the answer. `false` if the key was used for a request of another tenant, whose answer
    /// this transaction cannot see.
    pub async fn store_answer(
        &mut self,
        caller: ApiKeyId,
        lookup: &SecretDigest,
        tenant: Option<TenantId>,
        answer: &StoredAnswer,
    ) -> Result<bool, StoreError> {
        // What has run out makes room; it may wait for its pruning otherwise.
        sqlx::query!(
            r#"delete from idempotent_answers
            where api_key_id = $1 and lookup = $2 and created_at < now() - make_interval(secs => $3)"#,
            caller.as_bytes(),
            lookup.as_bytes(),
            seconds_kept()
        )
        .execute(&mut *self.sql)
        .await?;
        let inserted = sqlx::query!(
            r#"insert into idempotent_answers (api_key_id, lookup, tenant_id, fingerprint, salt, sealed)
            values ($1, $2, $3, $4, $5, $6) on conflict (api_key_id, lookup) do nothing"#,
            caller.as_bytes(),
            lookup.as_bytes(),
            tenant.as_ref().map(|id| id.as_bytes().as_slice()),
            answer.fingerprint.as_bytes(),
            &answer.sealed.salt,
            answer.sealed.bytes
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }
}

impl Store {
    /// Forgets answers that have run out, a bounded step; returns how many.
    pub async fn prune_answers(&self) -> Result<u64, StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let pruned = sqlx::query!(
            r#"delete from idempotent_answers where (api_key_id, lookup) in (
                select api_key_id, lookup from idempotent_answers
                where created_at < now() - make_interval(secs => $1)
                order by created_at limit $2)"#,
            seconds_kept(),
            PRUNE_ROWS_MAX
        )
        .execute(&mut *tx.sql)
        .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected())
    }
}

fn seconds_kept() -> f64 {
    u32::try_from(IDEMPOTENCY_SECONDS).map_or(f64::MAX, f64::from)
}

/// The number of the advisory lock of a key: two keys with one number only wait for each other.
fn lock_of(lookup: &SecretDigest) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *lookup.as_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
