//! As whom PostgreSQL runs: its programs refuse root.

/// Accounts that a root caller hands the cluster to, in order.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// As whom the cluster's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// As the caller, who is not root and owns the folder.
    Caller(Ids),
    /// The caller is root and becomes these; they may be unable to enter the folders above.
    Other(Ids),
}

impl RunAs {
    pub(crate) const fn ids(self) -> Ids {
        match self {
            Self::Caller(ids) | Self::Other(ids) => ids,
        }
    }
}

/// Nobody is there to run it as.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(
        "PostgreSQL refuses to run as root, and neither the user `postgres` nor `nobody` exists"
    )]
    NoAccount,
    #[error("the database files belong to user {owner}, and this is user {caller}: run as them")]
    OtherOwner { owner: u32, caller: u32 },
}

/// Chooses by who calls, by `/etc/passwd`, and by who owns an existing cluster.
pub(crate) fn choose(caller: Ids, passwd: &str, owner: Option<Ids>) -> Result<RunAs, AccountError> {
    match (caller.uid, owner) {
        (0, Some(owner)) if owner.uid != 0 => Ok(RunAs::Other(owner)),
        (0, _) => UNPRIVILEGED
            .iter()
            .find_map(|name| look_up(passwd, name))
            .map(RunAs::Other)
            .ok_or(AccountError::NoAccount),
        (uid, Some(owner)) if owner.uid != uid => Err(AccountError::OtherOwner {
            owner: owner.uid,
            caller: uid,
        }),
        (_, _) => Ok(RunAs::Caller(caller)),
    }
}

fn look_up(passwd: &str, name: &str) -> Option<Ids> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Ids { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Ids = Ids { uid: 0, gid: 0 };
    const USER: Ids = Ids {
        uid: 1000,
        gid: 100,
    };
    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        postgresql:x:7:7::/:/bin/false\n\
        nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn root_becomes_postgres_else_nobody() {
        let postgres = RunAs::Other(Ids { uid: 101, gid: 104 });
        assert_eq!(choose(ROOT, PASSWD, None), Ok(postgres));
        let fewer: String = PASSWD
            .lines()
            .filter(|l| !l.starts_with("postgres:"))
            .fold(String::new(), |text, line| text + line + "\n");
        assert_eq!(
            choose(ROOT, &fewer, None),
            Ok(RunAs::Other(Ids {
                uid: 65534,
                gid: 65534
            }))
        );
        assert_eq!(
            choose(ROOT, "root:x:0:0::/:\n", None),
            Err(AccountError::NoAccount)
        );
        assert_eq!(
            choose(ROOT, "postgres:x:0:0::/:\n", None),
            Err(AccountError::NoAccount)
        );
    }

    #[test]
    fn root_follows_the_owner_of_an_existing_cluster() {
        assert_eq!(choose(ROOT, PASSWD, Some(USER)), Ok(RunAs::Other(USER)));
    }

    #[test]
    fn others_run_it_themselves_and_only_on_their_own_files() {
        assert_eq!(choose(USER, PASSWD, None), Ok(RunAs::Caller(USER)));
        assert_eq!(choose(USER, PASSWD, Some(USER)), Ok(RunAs::Caller(USER)));
        let refused = AccountError::OtherOwner {
            owner: 101,
            caller: 1000,
        };
        assert_eq!(
            choose(USER, PASSWD, Some(Ids { uid: 101, gid: 104 })),
            Err(refused)
        );
    }
}
