//! Buckets that lie: lists without an end, answers that drip, names that no archive has, texts without measure. No real one does it on order.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::*;

/// Serves each connection with `answer` on loopback, for as long as the test lives; and a bucket there.
fn lying(answer: impl Fn(&mut TcpStream, usize) + Send + Sync + 'static) -> (tempfile::TempDir, Bucket) {
    crate::crypto::tls::install();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = [0u8; 8 * 1024];
            let _ = stream.read(&mut head);
            answer(&mut stream, number);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    fs::write(&file, "[default]\naws_access_key_id = KEY\naws_secret_access_key = hidden-secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = BucketConfig {
        url: "s3://backups/boat".into(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        credentials_file: Some(file.display().to_string()),
        plain_loopback: true,
        ..BucketConfig::default()
    };
    (folder, Bucket::open(&config, Patience::Short).unwrap())
}

fn whole(stream: &mut TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// A page of a list: so many names, and whether there is more.
fn page(number: usize, names: impl Iterator<Item = String>, more: bool) -> String {
    let object = |name: String| {
        format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-29T00:00:00.000Z</LastModified><ETag>x</ETag><Size>1</Size></Contents>"
        )
    };
    let next = if more { format!("<NextContinuationToken>t{number}</NextContinuationToken>") } else { String::new() };
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>backups</Name><IsTruncated>{more}</IsTruncated>{next}{}</ListBucketResult>",
        names.map(object).collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_an_end_is_given_up_before_it_fills_memory() {
    let (_folder, mut bucket) = lying(|stream, number| {
        whole(stream, "200 OK", &page(number, (0..5_000).map(|at| format!("boat/{number}/2026/{at}")), true));
    });
    bucket.whole = Duration::from_secs(120);
    let fault = bucket.list().await.unwrap_err();
    assert!(fault.message.contains("more than 200000 objects") && fault.message.contains("s3://backups/boat"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_is_waited_for_as_long_as_a_whole_one() {
    let (_folder, mut bucket) = lying(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    bucket.whole = Duration::from_millis(400);
    let began = Instant::now();
    for fault in [bucket.list().await.unwrap_err(), bucket.small("deny-list.json").await.unwrap_err()] {
        assert!(fault.message.contains("no whole answer"), "{fault}");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_is_short_holds_no_secret_and_steers_no_terminal() {
    let (_folder, bucket) = lying(|stream, _| {
        let body = format!("<Error><Code>Odd</Code><Message>line\nline {}</Message></Error>", "x".repeat(200_000));
        whole(stream, "403 Forbidden", &body);
    });
    let fault = bucket.list().await.unwrap_err();
    assert!(fault.message.contains("Odd: line") && fault.message.len() < 500, "{}", fault.message.len());
    assert!(!fault.message.contains('\n') && !format!("{fault:?}").contains("hidden-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_archive_has_is_said_with_the_way_around_it() {
    let (_folder, bucket) =
        lying(|stream, number| whole(stream, "200 OK", &page(number, ["boat/a//b".to_owned()].into_iter(), false)));
    let fault = bucket.list().await.unwrap_err();
    assert!(fault.message.contains("fetch the bucket with another tool"), "{fault}");
    let (_folder, bucket) =
        lying(|stream, number| whole(stream, "200 OK", &page(number, ["boat/a/b".to_owned()].into_iter(), false)));
    assert_eq!(bucket.list().await.unwrap().into_iter().collect::<Vec<_>>(), [("a/b".to_owned(), 1)]);
}

#[test]
fn credentials_are_the_owners_alone_and_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let config =
        BucketConfig { url: "s3://backups".into(), credentials_file: Some(file.display().to_string()), ..BucketConfig::default() };
    let said = || Bucket::open(&config, Patience::Short).err().map(|fault| fault.message).unwrap_or_default();
    assert!(said().contains("cannot be read"));
    fs::write(&file, "aws_access_key_id = KEY\naws_secret_access_key =\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(said().contains("can be read by other accounts"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(said().contains("holds no aws_access_key_id with its aws_secret_access_key"));
}
