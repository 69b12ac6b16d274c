//! A network of this process's own, in which only loopback exists: what a drill rebuilds can speak to itself and to nobody else. Never leaves
//! it again, and never touches the network it came from.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::unistd::{getegid, geteuid};

use super::outer::become_mapped;
use super::uid;

/// Moves this process, and every one it starts from now on, into a network namespace of its own and brings loopback up in it. Call it before
/// any thread exists. It may have happened in part when it fails: try it in a process that ends first.
///
/// # Errors
/// What the system said, in a word or a sentence.
pub fn enter_network() -> Result<(), String> {
    separate()?;
    loopback_up().map_err(|fault| format!("loopback: {fault:?}"))
}

/// Makes such a network and stays in it, for another process to join. Bringing loopback up takes a right (CAP_NET_ADMIN) that a service rarely has;
/// in a user namespace of its own every process has it. Call it before any thread exists.
///
/// # Errors
/// What the system said.
pub fn make_network() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|fault| format!("{fault:?}"))?;
    loopback_up().map_err(|fault| format!("loopback: {fault:?}"))
}

/// Moves this process into the network of another one, and keeps its accounts. Only root may; call it before any thread exists.
///
/// # Errors
/// What the system said; nothing has happened then.
pub fn join_network(process: u32) -> Result<(), String> {
    let network = File::open(format!("/proc/{process}/ns/net")).map_err(|fault| fault.to_string())?;
    setns(network, CloneFlags::CLONE_NEWNET).map_err(|fault| format!("{fault:?}"))
}

fn separate() -> Result<(), String> {
    let told = |fault: Errno| format!("{fault:?}");
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(()),
            // In a user namespace of one account servers would lose the accounts of their own, which hold more than a network.
            Err(fault) if uid::may_change() => return Err(told(fault)),
            Err(_) => {}
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(told)?;
    become_mapped(user.as_raw(), user.as_raw(), group.as_raw(), group.as_raw())
}

const HEADER: usize = 16;
const REQUEST: usize = HEADER + 16;
/// The first device of every network namespace.
const LOOPBACK: i32 = 1;

/// One message to the kernel (rtnetlink(7)): device 1 is to be up. Its answer is an error number, 0 for none.
fn loopback_up() -> Result<(), Errno> {
    let link = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(link.as_raw_fd(), &up(LOOPBACK), MsgFlags::empty())?;
    let mut answer = [0u8; 256];
    let length = recv(link.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match acknowledged(answer.get(..length).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(number) => Err(Errno::from_raw(number.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

/// `struct nlmsghdr` and `struct ifinfomsg`.
fn up(device: i32) -> [u8; REQUEST] {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let fields: [&[u8]; 9] = [
        &u32::try_from(REQUEST).unwrap_or(0).to_ne_bytes(),
        &RTM_NEWLINK.to_ne_bytes(),
        &REQUEST_AND_ACK.to_ne_bytes(),
        &1u32.to_ne_bytes(),
        &0u32.to_ne_bytes(),
        // Family, padding, type: all unspecified.
        &[0; 4],
        &device.to_ne_bytes(),
        &IFF_UP.to_ne_bytes(),
        &IFF_UP.to_ne_bytes(),
    ];
    let mut message = [0u8; REQUEST];
    for (slot, byte) in message.iter_mut().zip(fields.into_iter().flatten()) {
        *slot = *byte;
    }
    message
}

/// The number in an NLMSG_ERROR.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6)?.try_into().map(u16::from_ne_bytes).ok()?;
    let number = answer.get(HEADER..HEADER + 4)?.try_into().map(i32::from_ne_bytes).ok()?;
    (kind == NLMSG_ERROR).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_it_says_and_names_the_device() {
        let message = up(7);
        assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()), 32);
        assert_eq!(u16::from_ne_bytes(message[4..6].try_into().unwrap()), 16);
        assert_eq!(i32::from_ne_bytes(message[20..24].try_into().unwrap()), 7);
        assert_eq!((&message[24..28], &message[28..]), (&1u32.to_ne_bytes()[..], &1u32.to_ne_bytes()[..]), "up, and only that");
    }

    #[test]
    fn an_answer_that_is_no_acknowledgement_counts_for_nothing() {
        let mut answer = [0u8; 36];
        answer[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(0));
        answer[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(-1));
        assert_eq!(acknowledged(&answer[..18]), None);
        answer[4] = 3;
        assert_eq!(acknowledged(&answer), None);
    }
}
