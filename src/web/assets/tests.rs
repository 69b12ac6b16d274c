//! Laws of the assets: the vendored files are the reviewed ones, and all of it stays small on the wire.

use std::io::Write;

use sha2::Sha384;

use super::*;

#[test]
fn the_vendored_scripts_are_the_reviewed_ones() {
    let manifest = include_str!("../../../static/vendor/MANIFEST");
    let listed: Vec<(&str, &str)> = manifest.lines().filter_map(|line| line.split_once("  ")).collect();
    assert_eq!(listed.len(), 3);
    for (name, digest) in listed {
        let file = ALL.get(&format!("vendor/{name}")).unwrap();
        assert_eq!(digest, format!("sha384-{}", STANDARD.encode(Sha384::digest(&file.bytes))), "{name}");
    }
}

#[test]
fn every_link_of_a_page_is_served() {
    let links = links();
    for url in links.scripts.iter().chain([&links.css]).map(|l| &l.url).chain([&links.icon, &links.icon_stopped]) {
        let (name, query) = url.trim_start_matches("/static/").split_once('?').unwrap();
        let response = serve(name, Some(query), &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let tag = response.headers()["etag"].clone();
        let again = serve(name, None, &[(header::IF_NONE_MATCH, tag)].into_iter().collect());
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}

#[test]
fn nothing_else_is_served() {
    for name in ["../Cargo.toml", "vendor/MANIFEST", "vendor/LICENSE", "", "app.css/"] {
        assert_eq!(serve(name, None, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{name}");
    }
}

#[test]
fn script_and_style_stay_under_30_kb_on_the_wire() {
    let wire: usize = ALL.iter().filter(|(name, _)| !name.ends_with(".svg")).map(|(_, file)| squeezed(&file.bytes)).sum();
    assert!(wire < 30_000, "{wire} bytes");
}

// Zstandard at its default level is within a few percent of gzip for scripts; the margin of the goal is larger than that.
fn squeezed(bytes: &[u8]) -> usize {
    let mut out = zstd::Encoder::new(Vec::new(), 3).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap().len()
}
