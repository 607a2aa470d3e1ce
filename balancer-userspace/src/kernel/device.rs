//! What a network device and its driver can do (ethtool's ioctl, and the `netdev` family of generic netlink).
#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use super::Error;
use super::net::Link;

/// Commands of `linux/ethtool.h`.
const GET_DRIVER: u32 = 0x0000_0003;
const GET_TX_CHECKSUM: u32 = 0x0000_0016;
const GET_FLAGS: u32 = 0x0000_0025;
const GET_GRO: u32 = 0x0000_002b;
const GET_CHANNELS: u32 = 0x0000_003c;
/// `ETH_FLAG_RXVLAN`.
const FLAG_RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;
/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// What is switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The driver's name.
    pub driver: Option<String>,
    /// Generic receive offload.
    pub gro: Option<bool>,
    /// Large receive offload.
    pub lro: Option<bool>,
    /// The device takes VLAN tags off before anybody sees the frame.
    pub rx_vlan: Option<bool>,
    /// Checksums of sent packets are left to the device.
    pub tx_checksum: Option<bool>,
    /// Receive queues in use.
    pub queues: Option<u32>,
}

impl Features {
    /// Asks for what is switched on; `None` for what the driver does not tell.
    ///
    /// # Errors
    ///
    /// When no socket can be made.
    pub fn of(interface: &str) -> io::Result<Self> {
        let ethtool = Ethtool::open(interface)?;
        let flags = ethtool.value(GET_FLAGS);
        Ok(Self {
            driver: ethtool.driver(),
            gro: ethtool.value(GET_GRO).map(|value| value != 0),
            lro: flags.map(|flags| flags & FLAG_LRO != 0),
            rx_vlan: flags.map(|flags| flags & FLAG_RX_VLAN != 0),
            tx_checksum: ethtool.value(GET_TX_CHECKSUM).map(|value| value != 0),
            queues: ethtool.queues(),
        })
    }
}

struct Ethtool {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    /// Most rx, tx, other and combined queues, then those in use.
    counts: [u32; 8],
}

/// `struct ethtool_drvinfo`: the driver's name comes first.
#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    rest: [u8; 160],
}

impl Ethtool {
    fn open(interface: &str) -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor and nobody else has seen it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut name = [0; libc::IFNAMSIZ];
        // The last byte stays zero; no interface has a name that long.
        for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        Ok(Self { socket, name })
    }

    fn call<T>(&self, data: &mut T) -> Option<()> {
        // SAFETY: zeroes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.name;
        request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
        // SAFETY: the request and what it points to live during the call, and `data` is the struct of its command.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        (result == 0).then_some(())
    }

    fn value(&self, command: u32) -> Option<u32> {
        let mut value = Value { command, data: 0 };
        self.call(&mut value).map(|()| value.data)
    }

    fn queues(&self) -> Option<u32> {
        let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
        self.call(&mut channels)?;
        let [_, _, _, _, receive, _, _, combined] = channels.counts;
        Some(receive + combined)
    }

    fn driver(&self) -> Option<String> {
        let mut driver = Driver { command: GET_DRIVER, name: [0; 32], rest: [0; 160] };
        self.call(&mut driver)?;
        let length = driver.name.iter().position(|byte| *byte == 0).unwrap_or(driver.name.len());
        Some(String::from_utf8_lossy(&driver.name[..length]).into_owned())
    }
}

/// Whether an interface is several that act as one.
pub(super) fn is_bond(link: &Link) -> bool {
    link.kind.as_deref() == Some("bond")
}

/// Refuses what a driver would not, whether or not it runs there already: a bond's members would run the program, see
/// [`XdpFeatures::usable`].
///
/// # Errors
///
/// [`Error::DriverRefuses`] for a bond in native mode.
pub(super) fn may_run(link: &Link, native: bool) -> Result<(), Error> {
    if native && is_bond(link) {
        let source = io::Error::other("it is a bond, whose members would run the program");
        return Err(Error::DriverRefuses { interface: link.name.clone(), source });
    }
    Ok(())
}

/// What a driver says of its XDP (`enum netdev_xdp_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Whether the driver runs programs, with all actions but redirecting.
    #[must_use]
    pub const fn is_native(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether a program in the driver may redirect.
    #[must_use]
    pub const fn redirects(self) -> bool {
        self.0 & (1 << 1) != 0
    }

    /// Whether the driver sends what a program on another interface has redirected.
    #[must_use]
    pub const fn sends_redirected(self) -> bool {
        self.0 & (1 << 2) != 0
    }

    /// Whether ours runs in the driver.
    #[must_use]
    pub const fn runs_the_program(self) -> bool {
        self.is_native() && self.redirects()
    }

    /// What our program can use of an interface. Nothing of a bond: the drivers of its members would run the program
    /// (Linux 5.15, commit 9e2ee5c7e7c3), and show it packets of interfaces that no next hop and no configuration names.
    ///
    /// # Errors
    ///
    /// As of [`XdpFeatures::of`].
    pub fn usable(link: &Link) -> io::Result<Option<Self>> {
        if is_bond(link) { Ok(Some(Self(0))) } else { Self::of(link.index) }
    }

    /// Asks the kernel (Linux 6.3, commit d3d854fd6a1d); `None` when it does not know the question.
    ///
    /// # Errors
    ///
    /// When no socket can be made or the answer cannot be read.
    pub fn of(ifindex: u32) -> io::Result<Option<Self>> {
        const CONTROLLER: u16 = 16;
        const GET_FAMILY: u8 = 3;
        const FAMILY_ID: u16 = 1;
        const FAMILY_NAME: u16 = 2;
        const GET_DEVICE: u8 = 1;
        const DEVICE_IFINDEX: u16 = 1;
        const DEVICE_XDP_FEATURES: u16 = 3;

        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let Some(family) = ask(&socket, CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0", FAMILY_ID)? else {
            return Ok(None);
        };
        let Some(family) = family.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes)) else {
            return Ok(None);
        };
        let ifindex = ifindex.to_ne_bytes();
        let features = ask(&socket, family, GET_DEVICE, DEVICE_IFINDEX, &ifindex, DEVICE_XDP_FEATURES)?;
        Ok(features.and_then(|bytes| bytes.first_chunk().map(|bytes| Self(u64::from_ne_bytes(*bytes)))))
    }
}

/// Sends one generic netlink request with one attribute and picks one attribute of the answer.
fn ask(
    socket: &Socket,
    family: u16,
    command: u8,
    attribute: u16,
    value: &[u8],
    wanted: u16,
) -> io::Result<Option<Vec<u8>>> {
    const REQUEST: u16 = 1;
    const HEADERS: usize = 16 + 4;
    let attribute_length = 4 + value.len();
    let mut message = Vec::with_capacity(HEADERS + attribute_length.next_multiple_of(4));
    message.extend((HEADERS as u32 + attribute_length.next_multiple_of(4) as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((attribute_length as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    Ok(find_attribute(&answer, family, wanted).map(<[u8]>::to_vec))
}

/// The value of an attribute in an answer of `family`; an error message is of another.
fn find_attribute(answer: &[u8], family: u16, wanted: u16) -> Option<&[u8]> {
    if answer.get(4..6)? != family.to_ne_bytes() {
        return None;
    }
    let mut rest = answer.get(20..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        // The two high bits are flags.
        if kind & 0x3fff == wanted {
            return rest.get(4..length);
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found() {
        let mut answer = vec![0; 20];
        answer[4..6].copy_from_slice(&20_u16.to_ne_bytes());
        for (kind, value) in [(1_u16, vec![7_u8; 4]), (2, vec![1, 2]), (3, vec![9; 8])] {
            answer.extend((4 + value.len() as u16).to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(&value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        }
        assert_eq!(find_attribute(&answer, 20, 2), Some(&[1, 2][..]));
        assert_eq!(find_attribute(&answer, 20, 3), Some(&[9; 8][..]));
        assert_eq!(find_attribute(&answer, 20, 4), None);
        assert_eq!(find_attribute(&answer, 2, 3), None, "an answer of another family");
        for length in 0..answer.len() {
            // Cut short anywhere, it is no answer, and no panic.
            let _ = find_attribute(&answer[..length], 20, 3);
        }
    }

    #[test]
    fn nothing_of_a_bond_is_of_use() {
        let bond = Link { kind: Some("bond".to_owned()), ..Link::default() };
        assert_eq!(XdpFeatures::usable(&bond).unwrap().map(XdpFeatures::runs_the_program), Some(false));
        let refusal = may_run(&bond, true).unwrap_err();
        assert!(matches!(refusal, Error::DriverRefuses { .. }), "{refusal}");
        may_run(&bond, false).unwrap();
        may_run(&Link::default(), true).unwrap();
    }

    #[test]
    fn loopback_runs_no_native_xdp() {
        let loopback = 1;
        if let Some(features) = XdpFeatures::of(loopback).unwrap() {
            assert!(!features.is_native());
        }
        assert!(Features::of("lo").unwrap().gro.is_some());
    }
}
