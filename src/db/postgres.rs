//! Somebody else's PostgreSQL server, for the rotation of its roles: one connection for one errand, TLS with the whole name checked, names and verifiers as
//! parameters of static SQL. Never tries without TLS what should have it, and never sends a password inside a statement.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row};

use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;

/// For one errand: name, handshake, login, statements.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_SAID: usize = 200;

/// What the server itself gives up: a lock that somebody holds must not hold a rotation.
const BOUND: &str =
    "SELECT pg_catalog.set_config('statement_timeout', '8000', false), pg_catalog.set_config('lock_timeout', '4000', false)";
/// Whoever may change roles runs no code of anybody else. The owner of a database can have names mean functions of his, by what stands in a schema or by
/// ALTER DATABASE … SET: so they mean the server's own alone, from the first message on.
const OWN_NAMES: [(&str, &str); 3] =
    [("search_path", "pg_catalog,pg_temp"), ("default_transaction_read_only", "off"), ("local_preload_libraries", "")];
/// Once more, where something between here and the server drops what a connection begins with.
const OWN_NAMES_ALONE: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)";
/// Parameters cannot stand in ALTER ROLE; they go through settings of the transaction, and `format` quotes them.
const NAME: &str = "SELECT pg_catalog.set_config('lifeboat.role', $1, true), pg_catalog.set_config('lifeboat.verifier', $2, true),
    pg_catalog.set_config('lifeboat.until', $3, true)";
const SET_PASSWORD: &str = "DO $$ BEGIN
    EXECUTE pg_catalog.format('ALTER ROLE %I LOGIN PASSWORD %L VALID UNTIL %L', pg_catalog.current_setting('lifeboat.role'),
        pg_catalog.current_setting('lifeboat.verifier'), pg_catalog.current_setting('lifeboat.until'));
END $$";
const CLOSE: &str = "DO $$ BEGIN
    EXECUTE pg_catalog.format('ALTER ROLE %I NOLOGIN PASSWORD NULL', pg_catalog.current_setting('lifeboat.role'));
END $$";
/// Of a password nobody but a superuser sees whether there is one; without LOGIN none opens anything.
const IS_OPEN: &str = "SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text";
const ROLES: &str = "SELECT r.rolname::pg_catalog.text AS name, r.rolcanlogin AS may_login, r.rolsuper AS is_super,
    coalesce((SELECT pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER') FROM pg_catalog.pg_roles o
        WHERE o.rolname OPERATOR(pg_catalog.=) $2::pg_catalog.text), false) AS is_member
    FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) ANY($1::pg_catalog.text[]) ORDER BY 1";
const OWNS_THIS: &str = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r
    JOIN pg_catalog.pg_database d ON pg_catalog.pg_has_role(r.oid, d.datdba, 'MEMBER')
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND r.rolname OPERATOR(pg_catalog.=) ANY($1::pg_catalog.text[])
    ORDER BY 1 LIMIT 1";
const SESSIONS: &str =
    "SELECT coalesce(pg_catalog.host(client_addr), 'this role''s sessions') AS place, pg_catalog.count(*) AS open
    FROM pg_catalog.pg_stat_activity
    WHERE usename OPERATOR(pg_catalog.=) $1::pg_catalog.text AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
        AND ($2::pg_catalog.float8 IS NULL OR backend_start OPERATOR(pg_catalog.<)
            (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2::pg_catalog.float8)))
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50";
const TERMINATE: &str =
    "SELECT pg_catalog.count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
    WHERE usename OPERATOR(pg_catalog.=) $1::pg_catalog.text AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
        AND ($2::pg_catalog.float8 IS NULL OR backend_start OPERATOR(pg_catalog.<)
            (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2::pg_catalog.float8)))";
const WHO: &str = "SELECT session_user::pg_catalog.text AS session_user, current_user::pg_catalog.text AS current_user,
    pg_catalog.current_database()::pg_catalog.text AS database";

/// The configuration's own SELECT, in a transaction that cannot write. It means what it means to the role, whose code it may run with the role's rights.
const CHECK_TEXT: &str = "SELECT pg_catalog.set_config('lifeboat.check', $1, true)";
const CHECK: &str = "DO $$ DECLARE found pg_catalog.int8; BEGIN
    EXECUTE pg_catalog.current_setting('lifeboat.check');
    GET DIAGNOSTICS found = ROW_COUNT;
    PERFORM pg_catalog.set_config('lifeboat.rows', found::pg_catalog.text, true);
END $$";
const CHECKED: &str = "SELECT pg_catalog.current_setting('lifeboat.rows')";

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// PEM of the authority that signed its certificate; `None` speaks without TLS.
    pub ca: Option<Vec<u8>>,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Role.
    pub role: String,
    /// Its password.
    pub password: Secret<String>,
}

/// Why an errand failed.
#[derive(Debug)]
pub enum Failure {
    /// The server answered, and does not take this role with this password. In its own words.
    Refused(String),
    /// Everything else: nobody knows whether it would.
    Other(Fault),
}

/// What a login saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who logged in.
    pub session_user: String,
    /// Whose rights count.
    pub current_user: String,
    /// Where.
    pub database: String,
    /// Rows that the check gave.
    pub rows: usize,
    /// How long all of it took, in milliseconds.
    pub ms: u64,
}

/// One role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// LOGIN.
    pub may_login: bool,
    /// SUPERUSER.
    pub is_super: bool,
    /// Whether it is a member of the owner.
    pub is_member: bool,
}

/// Open sessions of a role from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// An address; a word when the server does not say.
    pub place: String,
    /// How many.
    pub open: i64,
}

/// A connection of the role that may change others.
#[derive(Debug)]
pub struct Link(PgConnection);

/// Logs in, says who it is, and does one SELECT in a transaction that cannot write.
///
/// # Errors
/// `Refused` for the login alone; `Other` for a server that cannot be reached, and for a SELECT that does not work.
pub async fn look(target: &Target, login: &Login, select: Option<&str>) -> Result<Seen, Failure> {
    let began = Instant::now();
    let errand = async {
        let mut connection = connect(options(target, login), target).await?;
        let other = |error| other(error, "it was asked who it is and does not say");
        let row = sqlx::query(WHO).fetch_one(&mut connection).await.map_err(other)?;
        let text = |column: &str| row.try_get::<String, _>(column).map_err(other);
        let (session_user, current_user, database) = (text("session_user")?, text("current_user")?, text("database")?);
        let rows = match select {
            Some(select) => check(&mut connection, select).await?,
            None => 0,
        };
        // A server that is slow to say goodbye takes nothing back of what it answered.
        let _ = connection.close().await;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Seen { session_user, current_user, database, rows, ms })
    };
    bounded(errand).await
}

async fn check(connection: &mut PgConnection, select: &str) -> Result<usize, Failure> {
    let failed = |error| other(error, "the check does not work");
    let mut read = connection.begin_with("BEGIN READ ONLY").await.map_err(failed)?;
    sqlx::query(CHECK_TEXT).bind(select).execute(&mut *read).await.map_err(failed)?;
    sqlx::query(CHECK).execute(&mut *read).await.map_err(failed)?;
    let rows: String = sqlx::query_scalar(CHECKED).fetch_one(&mut *read).await.map_err(failed)?;
    read.rollback().await.map_err(failed)?;
    Ok(rows.parse().unwrap_or_default())
}

/// Logs in as the role that may change others.
///
/// # Errors
/// `Refused` when it may not log in; `Other` for everything else.
pub async fn open(target: &Target, login: &Login) -> Result<Link, Failure> {
    bounded(async {
        let mut connection = connect(options(target, login).options(OWN_NAMES), target).await?;
        let set = sqlx::query(OWN_NAMES_ALONE).execute(&mut connection).await;
        set.map_err(|error| other(error, "it takes no search path"))?;
        Ok(Link(connection))
    })
    .await
}

impl Link {
    /// Which of some roles there are.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn roles(&mut self, names: &[&str], owner: &str) -> Verb<Vec<Role>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rows = within(sqlx::query(ROLES).bind(names).bind(owner).fetch_all(&mut self.0), "the roles cannot be read").await?;
        let role = |row: &sqlx::postgres::PgRow| {
            let (name, may_login, is_super) = (row.try_get("name")?, row.try_get("may_login")?, row.try_get("is_super")?);
            Ok(Role { name, may_login, is_super, is_member: row.try_get("is_member")? })
        };
        rows.iter().map(role).collect::<Result<_, sqlx::Error>>().map_err(|e| Fault::bug("a role cannot be read").because(e))
    }

    /// Lets a role log in with the password of a verifier, and no other, until a time (`infinity`, or RFC 3339).
    ///
    /// # Errors
    /// `Unavailable`, in the server's words.
    pub async fn set_password(&mut self, role: &str, verifier: &str, until: &str) -> Verb<()> {
        self.alter(SET_PASSWORD, (role, verifier, until)).await
    }

    /// Lets a role log in no more, and reads that it is so. What it has open stays open.
    ///
    /// # Errors
    /// `Unavailable`, in the server's words, or when the role can log in all the same.
    pub async fn close_role(&mut self, role: &str) -> Verb<()> {
        self.alter(CLOSE, (role, "", "")).await?;
        let read = sqlx::query_scalar(IS_OPEN).bind(role).fetch_optional(&mut self.0);
        let open: Option<bool> = within(read, "whether the role can log in cannot be read").await?;
        match open {
            Some(false) => Ok(()),
            _ => Err(Fault::unavailable(format!("role {role} was told to log in no more, and can all the same"))),
        }
    }

    /// Which of some roles owns the database of this connection, itself or by what it is a member of: code of its own may be there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn owner_among(&mut self, names: &[&str]) -> Verb<Option<String>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let owner = sqlx::query_scalar(OWNS_THIS).bind(names).fetch_optional(&mut self.0);
        within(owner, "the owner of the database cannot be read").await
    }

    async fn alter(&mut self, statement: &'static str, (role, verifier, until): (&str, &str, &str)) -> Verb<()> {
        let what = "the role cannot be changed";
        let altered = async {
            let mut tx = self.0.begin().await?;
            sqlx::query(NAME).bind(role).bind(verifier).bind(until).execute(&mut *tx).await?;
            sqlx::query(statement).execute(&mut *tx).await?;
            tx.commit().await
        };
        within(altered, what).await
    }

    /// Who has sessions of a role open, from where; all of them, or those that are older than so many seconds.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sessions(&mut self, role: &str, older: Option<f64>) -> Verb<Vec<Sessions>> {
        let what = "the sessions cannot be read";
        let rows = within(sqlx::query(SESSIONS).bind(role).bind(older).fetch_all(&mut self.0), what).await?;
        let one = |row: &sqlx::postgres::PgRow| Ok(Sessions { place: row.try_get("place")?, open: row.try_get("open")? });
        rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(|e| Fault::bug(what).because(e))
    }

    /// Ends the sessions of a role, or those that are older than so many seconds; gives how many.
    ///
    /// # Errors
    /// `Unavailable`, in the server's words.
    pub async fn terminate(&mut self, role: &str, older: Option<f64>) -> Verb<i64> {
        let ended = sqlx::query_scalar(TERMINATE).bind(role).bind(older).fetch_one(&mut self.0);
        within(ended, "the sessions cannot be ended").await
    }

    /// Goes.
    pub async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.close()).await;
    }
}

fn options(target: &Target, login: &Login) -> PgConnectOptions {
    // Nothing of this process' environment may lead it elsewhere: each part that counts is set.
    let options = PgConnectOptions::new_without_pgpass()
        .host(&target.host)
        .port(target.port)
        .database(&target.database)
        .username(&login.role)
        .password(login.password.reveal())
        .application_name("lifeboat")
        .statement_cache_capacity(0)
        .disable_statement_logging();
    match &target.ca {
        Some(ca) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(ca.clone()),
        None => options.ssl_mode(PgSslMode::Disable),
    }
}

async fn connect(options: PgConnectOptions, target: &Target) -> Result<PgConnection, Failure> {
    let mut connection = options.connect().await.map_err(|error| match is_refusal(&error) {
        true => Failure::Refused(said(&error)),
        false => other(error, &format!("{}:{} does not answer", target.host, target.port)),
    })?;
    sqlx::query(BOUND).execute(&mut connection).await.map_err(|error| other(error, "it takes no bounds"))?;
    Ok(connection)
}

/// Whether the server refused this role with this password. That no line of pg_hba.conf fits, or the database is missing, says nothing of either.
fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(found) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else { return false };
    match found.code() {
        "28P01" => true,
        "28000" => found.routine() == Some("InitializeSessionUserId"),
        _ => false,
    }
}

async fn bounded<T>(errand: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, errand).await {
        Ok(done) => done,
        Err(_) => Err(Failure::Other(late())),
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>, what: &str) -> Verb<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| told(error, what)),
        Err(_) => Err(late()),
    }
}

fn late() -> Fault {
    Fault::unavailable(format!("the database server does not answer in {} s", PATIENCE.as_secs()))
}

fn other(error: sqlx::Error, what: &str) -> Failure {
    Failure::Other(told(error, what))
}

fn told(error: sqlx::Error, what: &str) -> Fault {
    Fault::unavailable(format!("{what}: {}", said(&error))).because(error)
}

/// The server's own sentence, or the cause; neither holds a password or a statement.
fn said(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(cause) => cause.message().to_owned(),
        cause => cause.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).take(LONGEST_SAID).collect()
}
