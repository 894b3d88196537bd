//! The last good configuration: lookups, and the one writer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use tessera_tenancy::{
    Change, ChangeBody, CredentialId, CredentialRecord, DeviceUsername, KeyId, Revision, TenantId,
    TenantRecord, TenantSlug, TimelineId,
};

use crate::cache::{Cached, CredentialCache, Found};
use crate::disk::{Disk, DiskError, RowWrites};
use crate::draft::{Draft, DraftError, Purpose};
use crate::keys::{self, Slot};
use crate::listener::{ConfigChange, Listener};
use crate::memory::{Memory, View};
use crate::rows::{self, FORMAT, Position, PositionError};
use crate::stream::PushRefused;

/// Bounds of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigOptions {
    /// Tenants that may be pushed; some 400 bytes of memory each. A push of more is refused.
    pub tenants_max: usize,
    /// Credentials cached in memory, at most 1,000 bytes each. Fewer cost disk reads, nothing else.
    pub credentials_cached_max: u64,
    /// User names cached as naming no credential, at most 400 bytes each.
    pub absences_cached_max: u64,
}

impl ConfigOptions {
    /// Tenants by default: at most 400 MB.
    pub const TENANTS_MAX_DEFAULT: usize = 1_000_000;
    /// Cached credentials by default: at most 66 MB.
    pub const CREDENTIALS_CACHED_MAX_DEFAULT: u64 = 65_536;
    /// Cached absences by default: at most 7 MB.
    pub const ABSENCES_CACHED_MAX_DEFAULT: u64 = 16_384;
}

impl Default for ConfigOptions {
    fn default() -> Self {
        Self {
            tenants_max: Self::TENANTS_MAX_DEFAULT,
            credentials_cached_max: Self::CREDENTIALS_CACHED_MAX_DEFAULT,
            absences_cached_max: Self::ABSENCES_CACHED_MAX_DEFAULT,
        }
    }
}

/// Why a configuration could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed, or what it holds is damaged.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another version wrote it.
    #[error("configuration on disk: format {found}, this version reads {FORMAT}")]
    Format {
        /// What it was written in.
        found: u32,
    },
}

/// The last good configuration. Clones share it.
#[derive(Clone)]
pub struct Config {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    options: ConfigOptions,
    /// Locked briefly: never while the disk is read or written.
    memory: RwLock<Memory>,
    /// Held from reading what a push builds on until its last listener was told.
    writer: Mutex<Writer>,
    cache: CredentialCache,
    failed_lookups: AtomicU64,
}

/// Whoever applies a push.
#[derive(Default)]
pub(crate) struct Writer {
    listeners: Vec<Arc<dyn Listener>>,
    /// After a failure it is not known what is durable: nothing more is written.
    failed: Option<DiskError>,
    /// The snapshot being staged. The newest one wins; the slot is its alone.
    pub(crate) staging: Option<u64>,
    pub(crate) stagings: u64,
}

/// Who a key id finds.
pub type KeyIdOwner = (TenantId, CredentialId, Arc<CredentialRecord>);

impl Config {
    /// Opens what a disk holds: the last good configuration, or an empty one. Costs a read of every
    /// tenant.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        Self::open_with(disk, ConfigOptions::default())
    }

    /// Like [`open`](Self::open), with other bounds.
    pub fn open_with(disk: Arc<dyn Disk>, options: ConfigOptions) -> Result<Self, OpenError> {
        let position = match disk.get(&keys::position())? {
            Some(row) => Some(rows::decode_position(&row)?),
            None => None,
        };
        let memory = Memory::load(&*disk, position)?;
        let cache =
            CredentialCache::new(options.credentials_cached_max, options.absences_cached_max);
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                options,
                memory: RwLock::new(memory),
                writer: Mutex::default(),
                cache,
                failed_lookups: AtomicU64::new(0),
            }),
        })
    }

    /// The history that is applied (`None` before the first change) and how far.
    pub fn position(&self) -> (Option<TimelineId>, Revision) {
        let memory = self.shared.memory.read();
        let timeline = memory.position().map(|at| at.timeline);
        (timeline, memory.revision())
    }

    /// The tenant that a slug names.
    pub fn tenant_by_slug(&self, slug: &TenantSlug) -> Option<(TenantId, Arc<TenantRecord>)> {
        let memory = self.shared.memory.read();
        let (id, tenant) = memory.tenant_by_slug(slug)?;
        Some((id, Arc::clone(&tenant.record)))
    }

    /// A tenant.
    pub fn tenant(&self, tenant: TenantId) -> Option<Arc<TenantRecord>> {
        let memory = self.shared.memory.read();
        Some(Arc::clone(&memory.tenant(tenant)?.record))
    }

    /// How many tenants there are.
    pub fn tenant_count(&self) -> usize {
        self.shared.memory.read().tenant_count()
    }

    /// The credential of a user name in a tenant. What the disk cannot answer is not found, and
    /// counted in [`failed_lookups`](Self::failed_lookups). May block for one read of the disk.
    pub fn credential(
        &self,
        tenant: TenantId,
        username: &DeviceUsername,
    ) -> Option<(CredentialId, Arc<CredentialRecord>)> {
        let epoch = self.shared.memory.read().tenant(tenant)?.epoch;
        let name = (tenant, username.clone());
        match self.shared.cache.get(&name, epoch) {
            Cached::Present(found) => return Some(found),
            Cached::Absent => return None,
            Cached::Unknown => {}
        }
        let read = self.read_stable(|slot| {
            let row = self.disk().get(&keys::username(tenant, slot, username))?;
            row.map(|value| rows::decode_named(&value)).transpose()
        });
        let found: Option<Found> = self
            .answered(read)?
            .map(|(id, record)| (id, Arc::new(record)));
        self.shared.cache.insert(name, epoch, found.clone());
        found
    }

    /// The credential that the public part of a secret finds, and whose it is. Like
    /// [`credential`](Self::credential), but never cached: two reads of the disk.
    pub fn credential_by_key_id(&self, key_id: KeyId) -> Option<KeyIdOwner> {
        let read = self.read_stable(|slot| self.read_by_key_id(slot, key_id));
        let (tenant, id, record) = self.answered(read)??;
        // A removed tenant's rows stay until they are swept.
        self.tenant(tenant)?;
        Some((tenant, id, Arc::new(record)))
    }

    /// The credential of that id, unless its tenant is gone. Never cached: one read of the disk.
    pub fn credential_by_id(
        &self,
        tenant: TenantId,
        id: CredentialId,
    ) -> Option<Arc<CredentialRecord>> {
        self.tenant(tenant)?;
        let read = self.read_stable(|slot| {
            let row = self.disk().get(&keys::credential(tenant, slot, id))?;
            row.map(|value| rows::decode_credential(&value)).transpose()
        });
        self.answered(read)?.map(Arc::new)
    }

    /// Lookups that the disk did not answer since it was opened.
    pub fn failed_lookups(&self) -> u64 {
        self.shared.failed_lookups.load(Ordering::Relaxed)
    }

    /// Tells a listener every tenant there is, in the order of their ids, and from then on each
    /// applied change. Nothing is applied between the two, and nothing is told twice.
    pub fn subscribe(&self, listener: Arc<dyn Listener>) {
        let mut writer = self.shared.writer.lock();
        let tenants = self.shared.memory.read().tenants();
        for (tenant, record) in &tenants {
            let tenant = *tenant;
            listener.applied(ConfigChange::TenantSet { tenant, record });
        }
        writer.listeners.push(listener);
    }

    /// Applies changes in ascending, dense revisions: all that are new, or none. Returns the
    /// revision that was reached, if it is a new one.
    pub(crate) fn apply(
        &self,
        timeline: TimelineId,
        changes: &[Change],
    ) -> Result<Option<Revision>, PushRefused> {
        let mut writer = self.writer()?;
        let (in_force, applied, slot, tenants) = {
            let memory = self.shared.memory.read();
            let slot = memory.view().slot;
            (
                memory.timeline_in_force(),
                memory.revision(),
                slot,
                memory.tenant_count(),
            )
        };
        expect_timeline(in_force, timeline)?;
        let changes = unapplied(changes, applied)?;
        let Some(last) = changes.last() else {
            return Ok(None);
        };
        let position = Position {
            timeline,
            revision: last.revision,
            slot,
        };
        let tenants_max = self.options().tenants_max;
        let draft = Draft::new(self.disk(), slot, Purpose::Changes, tenants, tenants_max);
        let (mut writes, _tenants) = self.draft(&mut writer, draft, changes)?;
        writes.push((keys::position(), Some(rows::encode_position(&position))));
        self.write(&mut writer, writes)?;
        let records = self.memory().write().apply(changes, position);
        writer.tell_changes(changes, records);
        Ok(Some(position.revision))
    }

    /// The writes of changes, and how many tenants there are then.
    pub(crate) fn draft(
        &self,
        writer: &mut Writer,
        mut draft: Draft<'_>,
        changes: &[Change],
    ) -> Result<(RowWrites, usize), PushRefused> {
        for change in changes {
            match draft.add(change) {
                Ok(()) => {}
                Err(DraftError::Disk(error)) => return Err(writer.fail(error)),
                Err(DraftError::Invalid(cause)) => {
                    let (revision, tenant) = (change.revision, change.tenant);
                    return Err(PushRefused::Change {
                        revision,
                        tenant,
                        cause,
                    });
                }
            }
        }
        let tenants = draft.tenants();
        Ok((draft.into_writes(), tenants))
    }

    /// The only one who may write, unless the disk has failed.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>, PushRefused> {
        let writer = self.shared.writer.lock();
        match &writer.failed {
            None => Ok(writer),
            Some(error) => Err(PushRefused::Disk(error.clone())),
        }
    }

    /// The same, also after a failure.
    pub(crate) fn writer_in_any_state(&self) -> MutexGuard<'_, Writer> {
        self.shared.writer.lock()
    }

    pub(crate) fn write(&self, writer: &mut Writer, writes: RowWrites) -> Result<(), PushRefused> {
        self.disk()
            .write(writes)
            .map_err(|error| writer.fail(error))
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    pub(crate) fn memory(&self) -> &RwLock<Memory> {
        &self.shared.memory
    }

    pub(crate) fn options(&self) -> &ConfigOptions {
        &self.shared.options
    }

    fn read_by_key_id(
        &self,
        slot: Slot,
        key_id: KeyId,
    ) -> Result<Option<(TenantId, CredentialId, CredentialRecord)>, DiskError> {
        let Some(owner) = self.disk().get(&keys::key_id(slot, key_id))? else {
            return Ok(None);
        };
        let (tenant, id) = rows::decode_owner(&owner)?;
        let Some(row) = self.disk().get(&keys::credential(tenant, slot, id))? else {
            return Ok(None);
        };
        let record = rows::decode_credential(&row)?;
        // Between the two reads the secret may have been rotated away.
        let live = record.secrets.iter().any(|one| one.key_id == key_id);
        Ok(live.then_some((tenant, id, record)))
    }

    /// Reads rows of the slot in force. Where another came into force meanwhile, the former may have
    /// been half swept: then it reads again. Each turn takes a whole snapshot, so there are few.
    fn read_stable<T>(&self, read: impl Fn(Slot) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let mut view = self.view();
        loop {
            let outcome = read(view.slot)?;
            let now = self.view();
            if now == view {
                return Ok(outcome);
            }
            view = now;
        }
    }

    fn view(&self) -> View {
        self.shared.memory.read().view()
    }

    fn answered<T>(&self, read: Result<T, DiskError>) -> Option<T> {
        read.inspect_err(|error| {
            self.shared.failed_lookups.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "credential lookup failed");
        })
        .ok()
    }
}

impl Writer {
    pub(crate) fn tell(&self, change: ConfigChange<'_>) {
        for listener in &self.listeners {
            listener.applied(change);
        }
    }

    /// `records` are those of the tenants that the changes set, in their order.
    fn tell_changes(&self, changes: &[Change], records: Vec<Arc<TenantRecord>>) {
        let mut records = records.iter();
        for change in changes {
            let tenant = change.tenant;
            match &change.body {
                ChangeBody::Tenant(_) => {
                    if let Some(record) = records.next() {
                        self.tell(ConfigChange::TenantSet { tenant, record });
                    }
                }
                ChangeBody::TenantRemoved => self.tell(ConfigChange::TenantRemoved { tenant }),
                ChangeBody::Credential { id, record } => {
                    let id = *id;
                    self.tell(ConfigChange::CredentialSet { tenant, id, record });
                }
                ChangeBody::CredentialRemoved { id } => {
                    let id = *id;
                    self.tell(ConfigChange::CredentialRemoved { tenant, id });
                }
            }
        }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Remembers that the disk failed.
    pub(crate) fn fail(&mut self, error: DiskError) -> PushRefused {
        self.failed = Some(error.clone());
        PushRefused::Disk(error)
    }
}

/// The changes after `applied`, if all are in ascending order and none is missing.
fn unapplied(changes: &[Change], applied: Revision) -> Result<&[Change], PushRefused> {
    for pair in changes.windows(2) {
        let (before, after) = (pair[0].revision, pair[1].revision);
        if after <= before {
            return Err(PushRefused::NotAscending { before, after });
        }
    }
    let known = changes.partition_point(|change| change.revision <= applied);
    let changes = &changes[known..];
    let mut last = applied;
    for change in changes {
        let (expected, found) = (last.next(), change.revision);
        if found != expected {
            return Err(PushRefused::Gap { expected, found });
        }
        last = found;
    }
    Ok(changes)
}

/// What is in force may only be followed by its own history.
pub(crate) fn expect_timeline(
    in_force: Option<TimelineId>,
    found: TimelineId,
) -> Result<(), PushRefused> {
    match in_force {
        Some(ours) if ours != found => Err(PushRefused::ForeignTimeline {
            ours,
            theirs: found,
        }),
        Some(_) | None => Ok(()),
    }
}

impl From<PositionError> for OpenError {
    fn from(error: PositionError) -> Self {
        match error {
            PositionError::OtherFormat(found) => Self::Format { found },
            PositionError::Damaged => Self::Disk(rows::damaged("position")),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("position", &self.position())
            .field("tenants", &self.tenant_count())
            .finish_non_exhaustive()
    }
}
