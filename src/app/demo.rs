//! What `up --demo` adds: the built-in server, a role, a client and its key. Completes what is missing and changes nothing else.

use crate::admin::clients::{self, AddClient};
use crate::admin::roles::{self, SetRole};
use crate::admin::servers::{self, AddServer};
use crate::admin::{Actor, Admin};
use crate::base::fault::Verb;
use crate::base::secret::Secret;

/// Name of the server and of the role.
pub(super) const DEMO: &str = "demo";
/// Name of the client.
pub(super) const CLIENT: &str = "demo-client";
/// A tool without required arguments.
pub(super) const TOOL: &str = "read_graph";

/// What a demo does not have, said openly (the graduation test reads it).
pub(super) const WAIVERS: &str = "\
# Things a demo goes without, on purpose. Remove a waiver when the thing is there.
[[waiver]]
item = \"tls.organisation\"
by = \"lifeboat up --demo\"
why = \"a demo runs on loopback with a certificate of its own CA\"

[[waiver]]
item = \"operators.two_admins\"
by = \"lifeboat up --demo\"
why = \"a demo has one person\"
";

const ROLE: &str = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\", \"write\"]\n";

/// Adds what is missing; gives the client's key when it was made now.
///
/// # Errors
/// Those of the verbs.
pub(super) async fn complete(admin: &Admin) -> Verb<Option<Secret<String>>> {
    let actor = Actor::system("up --demo");
    let have = admin.feed.snapshot();
    if !have.servers.contains_key(DEMO) {
        servers::add(admin, &actor, AddServer { name: DEMO.into(), stdio: Some("@demo".into()), ..AddServer::default() }).await?;
    }
    if roles::show(admin, &actor, DEMO).await.is_err() {
        roles::set(admin, &actor, DEMO, SetRole { toml: Some(ROLE.into()), ..SetRole::default() }).await?;
    }
    // A name that was revoked stays so: nothing comes back to life because somebody starts Lifeboat again.
    if clients::show(admin, &actor, CLIENT).await.is_ok() {
        return Ok(None);
    }
    let order = AddClient { name: CLIENT.into(), roles: vec![DEMO.into()], ..AddClient::default() };
    Ok(clients::add(admin, &actor, order).await?.key.map(Secret::new))
}
