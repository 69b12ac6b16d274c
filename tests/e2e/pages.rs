//! Where things are on the dashboard: paths, form fields, selectors. The one place to change when a page changes.

/// Paths of the navigation that exist, each visited by the browser tests.
pub const NAV: &[&str] = &[
    "/",
    "/activity",
    "/alerts",
    "/kill",
    "/servers",
    "/clients",
    "/credentials",
    "/credentials/plan",
    "/credentials/tls/server",
    "/operators",
    "/account",
    "/revisions",
    "/vaults",
    "/vaults/kit",
    "/drills",
];

/// The first admin of a deployment under test.
pub const ADMIN: &str = "ana";
/// Its password.
pub const PASSWORD: &str = "harbour lantern copper 41";

/// First run: code, name, password.
pub const SETUP: &str = "/setup";
pub const SETUP_CODE: &str = "form[action='/setup'] input[name=code]";
pub const SETUP_NAME: &str = "form[action='/setup'] input[name=name]";
pub const SETUP_PASSWORD: &str = "form[action='/setup'] input[name=password]";
pub const SETUP_SUBMIT: &str = "form[action='/setup'] button";

/// Sign-in.
pub const LOGIN: &str = "/login";
pub const LOGIN_NAME: &str = "form[action='/login'] input[name=operator]";
pub const LOGIN_PASSWORD: &str = "form[action='/login'] input[name=password]";
pub const LOGIN_SUBMIT: &str = "form[action='/login'] button";

/// The second step of it.
pub const CODE: &str = "form[action='/login/code'] input[name=code]";
pub const CODE_SUBMIT: &str = "form[action='/login/code'] button";

/// My account: set up a second factor, its secret as text, the code that confirms it, what stands in for it.
pub const ACCOUNT: &str = "/account";
pub const TOTP_BEGIN: &str = "form[action='/account/totp/begin'] button";
pub const TOTP_SECRET: &str = "#new-secret pre";
pub const TOTP_QR: &str = "#new-secret svg.qr";
pub const TOTP_CODE: &str = "form[action='/account/totp/confirm'] input[name=code]";
pub const TOTP_SUBMIT: &str = "form[action='/account/totp/confirm'] button";
pub const NEW_CODES: &str = "#new-codes pre";
pub const KEY_SUBMIT: &str = "form[action='/account/keys/add'] button";
pub const SESSION_ROW: &str = "#sessions tbody tr";

/// What is asked for where a login is too old.
pub const AGAIN_PASSWORD: &str = "input[name=again_password]";
pub const AGAIN_CODE: &str = "input[name=again_code]";
pub const AGAIN_SUBMIT: &str = "main form:has(input[name=again_password]) button";

/// Operators: the form of a new one.
pub const OPERATORS: &str = "/operators";
pub const OPERATOR_NAME: &str = "form[action='/operators/add'] input[name=name]";
pub const OPERATOR_PASSWORD: &str = "form[action='/operators/add'] input[name=password]";
pub const OPERATOR_SUBMIT: &str = "form[action='/operators/add'] button";

/// The stop control of the bar, and the panel's own button.
pub const STOP: &str = "#stop[href='#halt']";
pub const STOP_NOW: &str = "#halt form[action='/kill/engage'] button.stop";

/// What the page shows while engaged.
pub const STOPPED_BANNER: &str = "#banner [data-stopped=true]";

/// The kill page and its release form.
pub const KILL: &str = "/kill";
pub const RELEASE_EVERYTHING: &str = "form[action='/kill/release'] input[name=to][value=everything]";
pub const RELEASE_REASON: &str = "form[action='/kill/release'] [name=reason]";
pub const RELEASE_SUBMIT: &str = "form[action='/kill/release'] button";

/// Clients: the form (a role that is the only one is chosen already), and the page that shows a key once.
pub const CLIENTS: &str = "/clients";
pub const CLIENT_NAME: &str = "form[action='/clients/add'] input[name=name]";
pub const CLIENT_SUBMIT: &str = "form[action='/clients/add'] button";
pub const NEW_KEY: &str = "#new-key pre";

/// Vaults: an archive of every vault; a row that one made.
pub const BACK_UP_ALL: &str = "form[action='/vaults/backup']:not(:has(input)) button";
pub const ARCHIVE_ROW: &str = "#archives tbody tr";

/// Vaults: bringing one back in its place, and what that kept.
pub const RESTORE_WHICH: &str = "form[action='/vaults/restore'] input[name=archive]";
pub const RESTORE_IN_PLACE: &str = "button[formaction='/vaults/live']";
pub const RESTORE_REASON: &str = "form[action='/vaults/live'] [name=reason]";
pub const RESTORE_SURE: &str = "form[action='/vaults/live'] button";
pub const KEPT_ROW: &str = "#kept li";

/// Drills: run the first scenario; the report of the newest that is over.
pub const DRILL_SUBMIT: &str = "form[action='/drills/run'] button";
pub const DRILL_REPORT: &str = "tr[id^='drill-'] th a";

/// Revisions: back to the state before the newest, with its reason.
pub const GO_BACK: &str = "#history a.btn";
pub const GO_BACK_REASON: &str = "form[action='/revisions/rollback'] [name=reason]";
pub const GO_BACK_SUBMIT: &str = "form[action='/revisions/rollback'] button";

/// Clients: a secret for one that is there; what comes of it; ending it in two clicks.
pub const SECRET_CLIENT: &str = "form[action='/clients/secrets'] select[name=client]";
pub const SECRET_SUBMIT: &str = "form[action='/clients/secrets'] button";
pub const NEW_SECRET: &str = "#new-secret pre";
pub const SECRET_REVOKE: &str = "#tokens form[action$='/revoke'] button";

/// A credential: start its rotation, show the new secret, end the overlap, revoke.
pub const ROTATE_SUBMIT: &str = "#rotate form button";
pub const FETCH_SUBMIT: &str = "form[action$='/fetch'] button";
pub const FETCHED: &str = "main .code pre";
pub const RETIRE_SUBMIT: &str = "form[action$='/order']:has(input[value=retire]) button";
pub const REVOKE_SUBMIT: &str = "#revoke form button";
