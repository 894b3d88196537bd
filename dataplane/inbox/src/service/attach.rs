//! Connections take sessions and leave them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tessera_mqtt::ClientId;
use tessera_shard::ReadError;
use tessera_tenancy::TenantId;
use tokio::time::Instant;

use super::owner::done;
use super::{Inbox, discarded_routes, key_of};
use crate::answer::{Answer, AttachOutcome, Registered as RegisteredNode};
use crate::body::encode_body;
use crate::command::{Attach, Command, Fence, NewWill};
use crate::error::{AttachError, SessionError};
use crate::lane::Lane;
use crate::query;
use crate::registration::Registration;
use crate::registry::{Ownership, Registered, SessionKey};
use crate::rows::Mark;
use crate::session::{
    AttachRequest, Attached, Detached, DiscardedRoute, OwnerEpoch, SessionIncarnation, SessionKind,
    SessionRef, WillEnd,
};
use crate::turn::Contended;
use crate::will::WillNumber;

/// Client identifiers that are remembered as abandoned one by one.
const ABANDONED_MAX: usize = 65_536;

/// How long an attach waits for the node that had the client before: longer than the lease of one
/// that is gone.
const FENCE_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause before a node that did not answer is asked again.
const FENCE_PAUSE: Duration = Duration::from_millis(100);

/// What the group says of an attach.
#[derive(Debug, Default)]
struct Stored {
    /// The session that is now the caller's, and whether it was there before.
    owned: Option<(Ownership, bool)>,
    will: Option<WillNumber>,
    discarded: Vec<DiscardedRoute>,
    registered: Option<RegisteredNode>,
}

impl Inbox {
    /// Makes the caller the one owner of a client's session.
    ///
    /// The former owner is told and fenced before this returns; the new one may be called before.
    /// A transient session costs no write, unless a stored one or a will has to be discarded, or it
    /// has a will.
    ///
    /// If the future is dropped, the session is nobody's: the next step of
    /// [`expire`](Self::expire) finds it.
    pub async fn attach(&self, request: AttachRequest) -> Result<Attached, AttachError> {
        let key = SessionKey::new(request.tenant, &request.client);
        let _turn = self.inner.turns.enter(&key).await?;
        self.check_principal(&request)?;
        let mut abandoned = Abandoned {
            inbox: self,
            key: Some(key.clone()),
        };
        let stored = match self.attach_stored(&request).await {
            Ok(stored) => stored,
            Err(error) => {
                if error == AttachError::OtherPrincipal {
                    abandoned.key = None;
                }
                return Err(error);
            }
        };
        if let Some(registered) = stored.registered {
            self.fence_former(&request, registered).await?;
        }
        let attached = match stored.owned {
            Some((ownership, resumed)) => {
                self.attached_stored(&request, ownership, resumed, &stored)
                    .await?
            }
            None => self.attached_in_memory(&request, &stored),
        };
        let attached = Attached {
            discarded: stored.discarded,
            ..attached
        };
        abandoned.key = None;
        let took_over = self.take_over(key.clone(), &request, &attached.session);
        self.look_for_fence(&key);
        Ok(Attached {
            took_over,
            ..attached
        })
    }

    /// Leaves a session; `expiry_seconds` replaces its expiry (DISCONNECT may bring one). A session
    /// without expiry ends here. `will` says what becomes of a will. For a former owner this is
    /// `Stale`, and nothing happens.
    pub async fn detach(
        &self,
        session: &SessionRef,
        expiry_seconds: Option<u32>,
        will: WillEnd,
    ) -> Result<Detached, SessionError> {
        let key = key_of(session);
        let ownership = Ownership {
            incarnation: session.incarnation,
            epoch: session.epoch,
        };
        let (tenant, client) = (session.tenant, session.client.as_bytes());
        let lane = self
            .inner
            .registry
            .with(tenant, client, |found| found.lane.clone())
            .flatten();
        if !self.inner.registry.remove(&key, ownership) {
            return Err(SessionError::Stale);
        }
        let is_unknown = session.will.is_none() && session.registration.is_none();
        if session.kind == SessionKind::Transient && is_unknown {
            return Ok(Detached::default());
        }
        let mut abandoned = Abandoned {
            inbox: self,
            key: Some(key),
        };
        if session.kind == SessionKind::Transient {
            self.leave_will(session, will).await?;
            self.leave_node(session).await?;
            abandoned.key = None;
            return Ok(Detached::default());
        }
        let sent_below = lane.map_or(0, |lane| lane.sent_below());
        let command = Command::Detach {
            fence: fence_of(session),
            expiry_seconds,
            sent_below,
            will,
        };
        let mut discarded = Vec::new();
        let mut answer = self.propose(tenant, client, command).await?;
        abandoned.key = None;
        while let Answer::Ended { done, removed } = answer {
            discarded_routes(tenant, &session.client, &removed, &mut discarded);
            if done {
                return Ok(Detached { discarded });
            }
            answer = self
                .propose(tenant, client, Command::Expire { client })
                .await?;
        }
        Ok(Detached { discarded })
    }

    /// The will of a session that is not stored.
    async fn leave_will(&self, session: &SessionRef, end: WillEnd) -> Result<(), SessionError> {
        let Some(number) = session.will else {
            return Ok(());
        };
        let client = session.client.as_bytes();
        let command = Command::LeaveWill {
            client,
            number: number.0,
            end,
        };
        let answer = self.propose(session.tenant, client, command).await?;
        // Another connection may have taken the client identifier, and the will been published.
        if answer == Answer::Unknown {
            return Ok(());
        }
        done(&answer)
    }

    /// A session that is not stored leaves the node where it is registered.
    async fn leave_node(&self, session: &SessionRef) -> Result<(), SessionError> {
        let Some(Registration(registration)) = session.registration else {
            return Ok(());
        };
        let client = session.client.as_bytes();
        let command = Command::Leave {
            client,
            registration,
        };
        let answer = self.propose(session.tenant, client, command).await?;
        // Another connection may have registered the client since.
        if answer == Answer::Stale {
            return Ok(());
        }
        done(&answer)
    }

    /// Whether an attach of a transient session changes nothing in the group.
    fn is_of_no_concern(&self, request: &AttachRequest) -> Result<bool, ReadError> {
        if self.inner.nodes.is_some() || request.will.is_some() {
            return Ok(false);
        }
        let (tenant, client) = (request.tenant, request.client.as_bytes());
        let is_known = self.read(tenant, client, |rows| query::is_known(rows, tenant, client))?;
        Ok(!is_known)
    }

    /// Closes what another node has of the client: from here on the connection there writes and
    /// acknowledges nothing. A node that does not answer has done so once its session has ended.
    async fn fence_former(
        &self,
        request: &AttachRequest,
        registered: RegisteredNode,
    ) -> Result<(), AttachError> {
        let (Some(nodes), Some(former)) = (&self.inner.nodes, registered.former) else {
            return Ok(());
        };
        let deadline = Instant::now() + FENCE_TIMEOUT;
        let registration = Registration(registered.registration);
        while former != nodes.own() && nodes.is_live(request.tenant, former) {
            let asked = nodes.fence(former, request.tenant, request.client.clone(), registration);
            if let Ok(true) = tokio::time::timeout_at(deadline, asked).await {
                return Ok(());
            }
            if Instant::now() + FENCE_PAUSE >= deadline {
                return Err(AttachError::FormerOwner { node: former.node });
            }
            tokio::time::sleep(FENCE_PAUSE).await;
        }
        Ok(())
    }

    /// A client registered elsewhere under this number: what it has here that is older is told, and
    /// nothing of it is written or acknowledged any more. Also if it is only about to attach here.
    pub fn fence_off(&self, tenant: TenantId, client: &ClientId, registration: Registration) {
        let key = SessionKey::new(tenant, client);
        // Noted before the look: an attach that ends in between finds it.
        if self.inner.turns.is_held(&key) {
            let mut fenced = self.inner.fenced.lock();
            let latest = fenced.entry(key.clone()).or_insert(registration);
            *latest = registration.max(*latest);
        }
        if let Some(former) = self.inner.registry.remove_before(&key, registration) {
            former.owner.taken_over();
        }
    }

    /// At the end of an attach: whether the client went elsewhere meanwhile.
    fn look_for_fence(&self, key: &SessionKey) {
        let Some(registration) = self.inner.fenced.lock().remove(key) else {
            return;
        };
        if let Some(former) = self.inner.registry.remove_before(key, registration) {
            former.owner.taken_over();
        }
    }

    fn check_principal(&self, request: &AttachRequest) -> Result<(), AttachError> {
        let client = request.client.as_bytes();
        let principal = self
            .inner
            .registry
            .with(request.tenant, client, |live| live.principal);
        match principal {
            Some(principal) if principal != request.principal => Err(AttachError::OtherPrincipal),
            Some(_) | None => Ok(()),
        }
    }

    /// What the group has to do with this attach: nothing for a new transient session without a will.
    async fn attach_stored(&self, request: &AttachRequest) -> Result<Stored, AttachError> {
        let (tenant, client) = (request.tenant, request.client.as_bytes());
        let (create, expiry_seconds) = match request.kind {
            SessionKind::Persistent { expiry_seconds } => (true, expiry_seconds),
            SessionKind::Transient => {
                if self.is_of_no_concern(request)? {
                    return Ok(Stored::default());
                }
                (false, 0)
            }
        };
        let will = request.will.as_ref().map(|will| {
            let body = encode_body(&will.message, request.principal);
            (will.delay_seconds, body)
        });
        let attach = Attach {
            client,
            principal: request.principal,
            clean_start: request.clean_start,
            create,
            expiry_seconds,
            will: will.as_ref().map(|(delay_seconds, body)| NewWill {
                delay_seconds: *delay_seconds,
                body,
            }),
            owner: self.inner.nodes.as_ref().map(|nodes| nodes.own()),
        };
        let mut discarded = Vec::new();
        loop {
            let answer = self
                .propose(tenant, client, Command::Attach(attach))
                .await?;
            let Answer::Attach {
                outcome,
                removed,
                will,
                registered,
            } = answer
            else {
                return Err(AttachError::Answer);
            };
            discarded_routes(tenant, &request.client, &removed, &mut discarded);
            let owned = match outcome {
                AttachOutcome::More => continue,
                AttachOutcome::OtherPrincipal => return Err(AttachError::OtherPrincipal),
                AttachOutcome::Absent => None,
                AttachOutcome::Owned {
                    incarnation,
                    epoch,
                    resumed,
                } => {
                    let incarnation = SessionIncarnation(incarnation);
                    Some((
                        Ownership {
                            incarnation,
                            epoch: OwnerEpoch(epoch),
                        },
                        resumed,
                    ))
                }
            };
            return Ok(Stored {
                owned,
                will: will.map(WillNumber),
                discarded,
                registered,
            });
        }
    }

    async fn attached_stored(
        &self,
        request: &AttachRequest,
        ownership: Ownership,
        session_present: bool,
        stored: &Stored,
    ) -> Result<Attached, AttachError> {
        let expiry_seconds = match request.kind {
            SessionKind::Persistent { expiry_seconds } => expiry_seconds,
            SessionKind::Transient => 0,
        };
        let kind = SessionKind::Persistent { expiry_seconds };
        let attached = Attached {
            session: session_ref(request, ownership, kind, stored),
            session_present,
            took_over: false,
            subscriptions: Vec::new(),
            received_qos2: Vec::new(),
            cursor: 0,
            sent_below: 0,
            released: Vec::new(),
            discarded: Vec::new(),
        };
        if !session_present {
            return Ok(attached);
        }
        if self.inner.nodes.is_some() {
            // The attach may have been applied elsewhere first.
            let shard = self.shard(request.tenant, request.client.as_bytes());
            shard.read_linearizable(|_rows| Ok(())).await?;
        }
        Ok(self.read_resumed(request.tenant, &request.client, attached)?)
    }

    /// Fills in what a resumed session has.
    fn read_resumed(
        &self,
        tenant: TenantId,
        client: &ClientId,
        attached: Attached,
    ) -> Result<Attached, ReadError> {
        let client = client.as_bytes();
        self.read(tenant, client, |rows| {
            let (cursor, sent_below) = query::session(rows, tenant, client)?
                .map_or((0, 0), |row| (row.cursor, row.sent_below));
            let marks = query::marks(rows, tenant, client, 0..u64::MAX)?;
            let first = marks.first().map_or(cursor, |(sequence, _)| *sequence);
            let released = marks.iter().filter(|(_, mark)| *mark == Mark::Released);
            Ok(Attached {
                subscriptions: query::subscriptions(rows, tenant, client)?,
                received_qos2: query::received_qos2(rows, tenant, client)?,
                cursor: cursor.min(first),
                sent_below,
                released: released.map(|(sequence, _)| *sequence).collect(),
                ..attached
            })
        })
    }

    fn attached_in_memory(&self, request: &AttachRequest, stored: &Stored) -> Attached {
        let epoch = self.inner.transient_epoch.fetch_add(1, Ordering::Relaxed);
        let ownership = Ownership {
            incarnation: SessionIncarnation(0),
            epoch: OwnerEpoch(epoch),
        };
        Attached {
            session: session_ref(request, ownership, SessionKind::Transient, stored),
            session_present: false,
            took_over: false,
            subscriptions: Vec::new(),
            received_qos2: Vec::new(),
            cursor: 0,
            sent_below: 0,
            released: Vec::new(),
            discarded: Vec::new(),
        }
    }

    /// Registers the new owner and tells the former one. From here on the former one is fenced: its
    /// epoch is behind, in the group and here.
    fn take_over(&self, key: SessionKey, request: &AttachRequest, session: &SessionRef) -> bool {
        let lane = match session.kind {
            SessionKind::Transient => None,
            SessionKind::Persistent { .. } => Some(Arc::new(Lane::default())),
        };
        let registered = Registered {
            owner: Arc::clone(&request.owner),
            principal: request.principal,
            ownership: Ownership {
                incarnation: session.incarnation,
                epoch: session.epoch,
            },
            lane,
            registration: session.registration,
        };
        let former = self.inner.registry.insert(key, registered);
        if let Some(former) = &former {
            former.owner.taken_over();
        }
        former.is_some()
    }
}

/// Notes, when dropped, that a session may be online in the group without an owner here.
struct Abandoned<'a> {
    inbox: &'a Inbox,
    /// `None`: it has one, or is offline.
    key: Option<SessionKey>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        self.inbox.inner.fenced.lock().remove(&key);
        let mut abandoned = self.inbox.inner.abandoned.lock();
        if abandoned.len() < ABANDONED_MAX {
            abandoned.push(key);
        } else {
            self.inbox.inner.look_around.store(true, Ordering::Release);
        }
    }
}

/// The fence of a session's owner.
pub(super) fn fence_of(session: &SessionRef) -> Fence<'_> {
    Fence {
        client: session.client.as_bytes(),
        incarnation: session.incarnation.0,
        epoch: session.epoch.0,
    }
}

fn session_ref(
    request: &AttachRequest,
    ownership: Ownership,
    kind: SessionKind,
    stored: &Stored,
) -> SessionRef {
    SessionRef {
        tenant: request.tenant,
        client: request.client.clone(),
        incarnation: ownership.incarnation,
        epoch: ownership.epoch,
        kind,
        will: stored.will,
        registration: stored
            .registered
            .map(|registered| Registration(registered.registration)),
    }
}

impl From<Contended> for AttachError {
    fn from(contended: Contended) -> Self {
        Self::Contended {
            waiting: contended.waiting,
        }
    }
}
