//! A database whose owner, the role that is replaced, waits in it for whoever may change roles: functions and operators under the names of PostgreSQL's own,
//! and settings that put them first.

use super::super::*;
use super::tests_orders::keep;
use super::tests_postgres_rig::{ADMIN, Cluster, FIRST};
use crate::admin::tests_house::{House, root};
use crate::db::postgres::{self, Login, Target};

const NAME: &str = "postgres/notes";
/// Each writes down for whom it ran, and answers as it likes.
const HOSTILE: &str = "
CREATE TABLE public.caught (who text, what text);
GRANT ALL ON public.caught TO PUBLIC;
CREATE FUNCTION public.format(text, text, text, text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $3); RETURN 'SELECT 1'; END $$;
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $2); RETURN 'SELECT 1'; END $$;
CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $1); RETURN 'nobody'; END $$;
CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $2); RETURN $2; END $$;
CREATE FUNCTION public.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $3); RETURN true; END $$;
CREATE FUNCTION public.pg_terminate_backend(int) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, 'terminate'); RETURN false; END $$;
CREATE FUNCTION public.same(name, text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.caught VALUES (current_user, $2); RETURN false; END $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.same);
CREATE VIEW public.pg_roles AS SELECT 'notes_a'::name AS rolname, false AS rolcanlogin, false AS rolsuper, 0::oid AS oid;
CREATE VIEW public.pg_stat_activity AS SELECT 'notes_a'::name AS usename, 1 AS pid, now() AS backend_start, NULL::inet AS client_addr LIMIT 0;
GRANT SELECT ON public.pg_roles, public.pg_stat_activity TO PUBLIC;
ALTER DATABASE notes SET search_path = public, pg_catalog;
ALTER DATABASE notes SET default_transaction_read_only = on;
";

fn hostile() -> Cluster {
    let cluster = Cluster::start();
    cluster.psql("notes", "ALTER DATABASE notes OWNER TO notes; GRANT CREATE ON SCHEMA public TO notes");
    let out = cluster.client("notes_a", FIRST, "notes").args(["-c", HOSTILE]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    cluster
}

/// What ran for Lifeboat's own role.
fn caught(cluster: &Cluster) -> String {
    cluster.psql("notes", "SELECT who, what FROM public.caught WHERE who = 'lifeboat'")
}

fn may_login(cluster: &Cluster) -> String {
    cluster.psql("postgres", "SELECT coalesce(string_agg(rolname, ',' ORDER BY rolname), '') FROM pg_roles WHERE rolname IN ('notes_a', 'notes_b') AND rolcanlogin")
}

async fn house(cluster: &Cluster) -> House {
    let house = cluster.house().await;
    keep(&house.admin, NAME, ADMIN).await.unwrap();
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_the_owner_of_a_database_runs_nothing_as_the_role_that_changes_roles() {
    let cluster = hostile();
    crate::crypto::tls::install();
    // Even over the database that is the attacker's.
    let target: Target = systems::target(&cluster.read("notes")).unwrap();
    assert_eq!(target.database, "notes");
    let login = Login { role: "lifeboat".into(), password: Secret::new(ADMIN.into()) };
    let mut link = postgres::open(&target, &login).await.unwrap();
    assert_eq!(link.owner_among(&["notes_b", "notes"]).await.unwrap().as_deref(), Some("notes"));
    let verifier = crate::crypto::scram::verifier(&Secret::new("x".into()), &crate::crypto::random::SystemEntropy).unwrap();
    link.set_password("notes_b", &verifier, "infinity").await.unwrap();
    assert_eq!(may_login(&cluster), "notes_a,notes_b");
    let roles = link.roles(&["notes_a", "notes_b"], "notes").await.unwrap();
    assert!(roles.len() == 2 && roles.iter().all(|role| role.may_login && role.is_member), "{roles:?}");
    let mut session = cluster.session("notes_a", FIRST);
    assert_eq!(link.sessions("notes_a", None).await.unwrap().iter().map(|one| one.open).sum::<i64>(), 1);
    for role in ["notes_a", "notes_b"] {
        link.close_role(role).await.unwrap();
        link.terminate(role, Some(0.0)).await.unwrap();
    }
    assert_eq!(may_login(&cluster), "");
    assert!(!session.wait().unwrap().success(), "its session is ended");
    assert_eq!(caught(&cluster), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a_revocation_in_a_hostile_database_is_one() {
    let cluster = hostile();
    let house = house(&cluster).await;
    let rotated = rotate(&house.admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!((rotated.state, rotated.hold), (machine::State::Draining, None), "{rotated:?}");
    assert_eq!(may_login(&cluster), "notes_a,notes_b");
    let order = RevokeOrder { name: NAME.into(), ..RevokeOrder::default() };
    let done = revoke(&house.admin, &root(), order).await.unwrap();
    assert_eq!((done.roles.len(), done.open.len()), (2, 0), "{done:?}");
    assert_eq!(may_login(&cluster), "");
    assert_eq!(caught(&cluster), "");
    let admin = cluster.log().lines().filter(|line| line.contains("user=lifeboat") && line.contains("authorized")).count();
    let there = cluster.log().lines().filter(|line| line.contains("user=lifeboat database=notes")).count();
    assert!(admin > 0 && there == 0, "nothing of the roles is changed in their own database: {admin}, {there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_roles_are_not_changed_over_a_database_that_is_theirs() {
    let cluster = Cluster::start();
    let house = house(&cluster).await;
    cluster.psql("postgres", "ALTER DATABASE postgres OWNER TO notes_b");
    let fault = rotate(&house.admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert!(fault.message.contains("belongs to notes_b") && fault.message.contains("maintenance_database"), "{fault}");
    cluster.psql("postgres", "ALTER DATABASE postgres OWNER TO postgres");
    rotate(&house.admin, &root(), NAME, RotateOrder::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_log_in_all_the_same_is_not_told_as_closed() {
    let cluster = Cluster::start();
    crate::crypto::tls::install();
    let target = Target { database: "postgres".into(), ..systems::target(&cluster.read("notes")).unwrap() };
    let login = Login { role: "postgres".into(), password: Secret::new("superuser-of-the-rig".into()) };
    let mut link = postgres::open(&target, &login).await.unwrap();
    // As a server would do it on which ALTER ROLE does not what it says.
    cluster.psql(
        "postgres",
        "CREATE FUNCTION pg_catalog.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'SELECT 1'::text $$",
    );
    let fault = link.close_role("notes_a").await.unwrap_err();
    assert!(fault.message.contains("can all the same"), "{fault}");
}
