"""
Which network addresses keys are not fetched from: where clouds hand machines their credentials.

Private addresses are not among them: an issuer may well be in the same network.
"""

import ipaddress
import socket
from typing import Final

__all__ = ["is_link_local"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services that are not link-local by number: AWS and Google over IPv6, Alibaba, Azure, Oracle.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
# In unique local addresses (RFC 4193), which are private and otherwise fine: AWS, Google, Oracle, Scaleway,
# Akamai, Alibaba.
_METADATA_NETWORKS: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "fd00:ec2::/32",
            "fd20:ce::/32",
            "fd00:c1::/32",
            "fd00:42::/32",
            "fd00:a9fe:a9fe::/48",
            "fd00:100::/32",
        ),
    )
)
# Their last 32 bits are an IPv4 address: RFC 6052 §2.1, RFC 8215, RFC 2765 §2.1, RFC 4291 §2.5.5.1.
_WITH_IPV4: Final = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)


def is_link_local(host: str) -> bool:
    """
    Whether *host* is an address that is link-local (RFC 3927, RFC 4291 §2.5.6) or a cloud's metadata service.

    Does not resolve names: a name is not an address.
    """
    address = _address(host)
    if address is None:
        return False
    return address.is_link_local or address in _METADATA or any(address in one for one in _METADATA_NETWORKS)


def _address(host: str) -> _Address | None:
    try:
        return _embedded(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        # "2852039166" and "0xa9.0xfe.0xa9fe" are not addresses to Python, and are to what connects.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _embedded(address: _Address) -> _Address:
    """
    The IPv4 address inside of an IPv6 address that only wraps one.
    """
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if any(address in one for one in _WITH_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else address)
