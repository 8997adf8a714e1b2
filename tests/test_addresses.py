"""
Which addresses keys are not fetched from, however they are spelled; and which are nobody's business.
"""

import ipaddress
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail._addresses import is_link_local

METADATA = "169.254.169.254"
AS_NUMBER = int(ipaddress.IPv4Address(METADATA))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("169.254.0.0", id="the first"),
        pytest.param("169.254.0.1", id="the first host"),
        pytest.param("169.254.169.254", id="metadata, AWS and many others"),
        pytest.param("169.254.170.2", id="credentials of a container"),
        pytest.param("169.254.255.255", id="the last"),
        pytest.param("fe80::", id="IPv6, the first"),
        pytest.param("fe80::1", id="IPv6"),
        pytest.param("FE80::1", id="IPv6, upper case"),
        pytest.param("fe80:0000:0000:0000:0000:0000:0000:0001", id="IPv6, in full"),
        pytest.param("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", id="IPv6, the last"),
        pytest.param("fe80::169.254.169.254", id="IPv6 with a dotted end"),
    ],
)
def test_link_local_address_is_one(host: str) -> None:
    """
    169.254.0.0/16 and fe80::/10 are link-local (RFC 3927 §2.1, RFC 4291 §2.5.6).
    """
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("169.253.255.255", id="just before"),
        pytest.param("169.255.0.0", id="just beyond"),
        pytest.param("168.254.169.254", id="another first octet"),
        pytest.param("254.169.254.169", id="the octets the other way round"),
        pytest.param("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", id="IPv6, just before"),
        pytest.param("fec0::", id="IPv6, just beyond"),
        pytest.param("ff02::1", id="IPv6, multicast on the link"),
    ],
)
def test_neighbour_of_the_ranges_is_none(host: str) -> None:
    """
    The ranges end where they end.
    """
    assert not is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("fd00:ec2::254", id="AWS over IPv6"),
        pytest.param("FD00:0EC2:0:0::0254", id="AWS over IPv6, another spelling"),
        pytest.param("fd00:ec2::253", id="AWS over IPv6, its resolver"),
        pytest.param("fd00:ec2:0:0:0:1:0:254", id="AWS over IPv6, elsewhere in its network"),
        pytest.param("fd20:ce::254", id="Google over IPv6"),
        pytest.param("fd00:c1::a9fe:a9fe", id="Oracle over IPv6"),
        pytest.param("fd00:42::42", id="Scaleway over IPv6"),
        pytest.param("fd00:a9fe:a9fe::1", id="Akamai over IPv6"),
        pytest.param("fd00:100::1", id="Alibaba over IPv6"),
        pytest.param("fd00:ec2::254%eth0", id="AWS over IPv6, with a zone"),
        pytest.param("100.100.100.200", id="Alibaba"),
        pytest.param("168.63.129.16", id="Azure"),
        pytest.param("192.0.0.192", id="Oracle"),
        pytest.param("::ffff:100.100.100.200", id="Alibaba, mapped"),
        pytest.param("::ffff:192.0.0.192", id="Oracle, mapped"),
        pytest.param("64:ff9b::168.63.129.16", id="Azure, through NAT64"),
        pytest.param("0x646464c8", id="Alibaba, in hexadecimal"),
    ],
)
def test_metadata_service_elsewhere_counts_as_one(host: str) -> None:
    """
    Some clouds serve their credentials at addresses that are not link-local by number.
    """
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("fd00:ec1:ffff:ffff:ffff:ffff:ffff:ffff", id="just before AWS"),
        pytest.param("fd00:ec3::254", id="just beyond AWS"),
        pytest.param("fd20:cf::254", id="just beyond Google"),
        pytest.param("fd00:c2::a9fe:a9fe", id="just beyond Oracle"),
        pytest.param("fd00:43::42", id="just beyond Scaleway"),
        pytest.param("fd00:a9fe:a9ff::1", id="just beyond Akamai"),
        pytest.param("fd00:101::1", id="just beyond Alibaba"),
        pytest.param("100.100.100.199", id="beside Alibaba"),
        pytest.param("168.63.129.17", id="beside Azure"),
        pytest.param("192.0.0.193", id="beside Oracle"),
    ],
)
def test_neighbour_of_a_metadata_service_is_none(host: str) -> None:
    """
    It is those addresses, and those private networks of IPv6; others are like any private address.
    """
    assert not is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("2852039166", id="one number"),
        pytest.param("0xa9fea9fe", id="one number, hexadecimal"),
        pytest.param("0XA9FEA9FE", id="one number, upper case"),
        pytest.param("025177524776", id="one number, octal"),
        pytest.param("169.16689662", id="two parts"),
        pytest.param("169.254.43518", id="three parts"),
        pytest.param("0xa9.0xfe.0xa9.0xfe", id="hexadecimal parts"),
        pytest.param("0xa9.0xfe.0xa9fe", id="three hexadecimal parts"),
        pytest.param("0251.0376.0251.0376", id="octal parts"),
        pytest.param("0251.254.0xa9.254", id="parts of each kind"),
        pytest.param("00000000251.254.169.254", id="leading zeros"),
    ],
)
def test_other_spellings_of_a_number_are_the_same_address(host: str) -> None:
    """
    What Python does not take for an address, the resolver does.
    """
    resolved = {info[4][0] for info in socket.getaddrinfo(host, 80, socket.AF_INET)}

    assert resolved == {METADATA}
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("2852039168.", id="a dot more"),
        pytest.param("2130706433", id="loopback as one number"),
        pytest.param("0x7f000001", id="loopback, hexadecimal"),
        pytest.param("017700000001", id="loopback, octal"),
        pytest.param("167772161", id="10.0.0.1 as one number"),
        pytest.param("0", id="zero"),
        pytest.param("4294967296", id="too large a number"),
        pytest.param("0xa9fea9fe0", id="a digit too much"),
        pytest.param("169.254.169.254.1", id="five parts"),
        pytest.param("169.254.169.256", id="an octet too large"),
        pytest.param("0xa9.0xfg.0xa9.0xfe", id="no number"),
    ],
)
def test_other_numbers_are_not(host: str) -> None:
    """
    Numbers of other addresses, and numbers that are none, are nothing to refuse.
    """
    assert not is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("::ffff:169.254.169.254", id="mapped"),
        pytest.param("::ffff:a9fe:a9fe", id="mapped, in hexadecimal"),
        pytest.param("0:0:0:0:0:FFFF:A9FE:A9FE", id="mapped, in full"),
        pytest.param("64:ff9b::169.254.169.254", id="NAT64"),
        pytest.param("64:ff9b::a9fe:a9fe", id="NAT64, in hexadecimal"),
        pytest.param("64:ff9b:1::a9fe:a9fe", id="NAT64 of the local network"),
        pytest.param("64:ff9b:1:7:0:1:169.254.169.254", id="NAT64 of the local network, further in"),
        pytest.param("2002:a9fe:a9fe::", id="6to4"),
        pytest.param("2002:a9fe:a9fe:1::1", id="6to4, a host in it"),
        pytest.param("2001:0:4136:e378:8000:63bf:5601:5601", id="Teredo"),
        pytest.param("::ffff:0:169.254.169.254", id="translated"),
        pytest.param("::ffff:0:a9fe:a9fe", id="translated, in hexadecimal"),
        pytest.param("::169.254.169.254", id="compatible"),
        pytest.param("::a9fe:a9fe", id="compatible, in hexadecimal"),
    ],
)
def test_ipv6_around_a_link_local_ipv4_address_is_one(host: str) -> None:
    """
    Who connects to it may arrive at the IPv4 address inside (RFC 4291 §2.5.5, RFC 6052, RFC 8215, RFC 3056,
    RFC 4380 §4, RFC 2765 §2.1).
    """
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("::ffff:10.0.0.1", id="mapped private"),
        pytest.param("::ffff:127.0.0.1", id="mapped loopback"),
        pytest.param("64:ff9b::10.0.0.1", id="NAT64 of another"),
        pytest.param("64:ff9b:0:1::a9fe:a9fe", id="beside the NAT64 prefix"),
        pytest.param("64:ff9c::a9fe:a9fe", id="another prefix"),
        pytest.param("2002:a9ff:a9fe::", id="6to4 of another"),
        pytest.param("2003:a9fe:a9fe::", id="no 6to4"),
        pytest.param("2001:0:a9fe:a9fe:8000:63bf:5600:5601", id="Teredo of another, by way of one"),
        pytest.param("2001:1:4136:e378:8000:63bf:5601:5601", id="no Teredo"),
        pytest.param("::ffff:0:10.0.0.1", id="translated of another"),
        pytest.param("::10.0.0.1", id="compatible of another"),
        pytest.param("::1:0:a9fe:a9fe", id="neither"),
        pytest.param("2001:db8::a9fe:a9fe", id="the same digits elsewhere"),
    ],
)
def test_ipv6_around_another_address_is_none(host: str) -> None:
    """
    Wrapping alone is no offence.
    """
    assert not is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("fe80::1%eth0", id="a name"),
        pytest.param("fe80::1%25eth0", id="a name, as URLs escape it"),
        pytest.param("fe80::1%2", id="a number"),
        pytest.param("fe80::1%", id="an empty one"),
        pytest.param("fe80::1%eth0%eth1", id="two"),
        pytest.param("::ffff:169.254.169.254%eth0", id="on a mapped address"),
    ],
)
def test_zone_makes_no_difference(host: str) -> None:
    """
    A zone says through which interface, and not to where (RFC 4007 §11).
    """
    assert is_link_local(host)
    assert not is_link_local(host.replace("fe80::1", "2001:db8::1").replace("169.254.", "10.254."))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("10.0.0.1", id="10/8"),
        pytest.param("172.16.0.1", id="172.16/12"),
        pytest.param("192.168.1.1", id="192.168/16"),
        pytest.param("100.64.0.1", id="shared address space"),
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.1", id="loopback, short"),
        pytest.param("0.0.0.0", id="unspecified"),
        pytest.param("8.8.8.8", id="public"),
        pytest.param("::1", id="IPv6 loopback"),
        pytest.param("::", id="IPv6 unspecified"),
        pytest.param("fd12:3456:789a::1", id="IPv6 unique local"),
        pytest.param("fc00::1", id="IPv6 unique local, the other half"),
        pytest.param("2001:db8::1", id="IPv6"),
    ],
)
def test_private_and_loopback_addresses_are_none(host: str) -> None:
    """
    An issuer may well be in the same network, or on the same machine.
    """
    assert not is_link_local(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("login.example.com", id="a name"),
        pytest.param("localhost", id="localhost"),
        pytest.param("metadata.google.internal", id="the name of a metadata service"),
        pytest.param("169.254.169.254.nip.io", id="a name that will resolve to one"),
        pytest.param("169-254-169-254.example.com", id="a name that looks like one"),
        pytest.param("fe80", id="the beginning of one"),
        pytest.param("fe80:", id="half of one"),
        pytest.param("[fe80::1]", id="brackets, which are a URL's"),
        pytest.param("xn--fsq.example", id="an IDNA name"),
        pytest.param("bücher.example", id="not ASCII"),
        pytest.param("１６９.254.169.254", id="full-width digits"),
        pytest.param("", id="empty"),
        pytest.param("%eth0", id="a zone of nothing"),
        pytest.param(".", id="a dot"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param("169.254.169.254\x00", id="a NUL at the end"),
        pytest.param("169.254.169.254\x00.example.com", id="a NUL inside"),
    ],
)
def test_name_is_no_address(host: str) -> None:
    """
    Names are not resolved here: what they resolve to counts once there is a connection.
    """
    assert not is_link_local(host)


@settings(database=None, deadline=None)
@given(host=st.text())
def test_any_text_has_an_answer(host: str) -> None:
    """
    Whatever is in a host's place, it is judged without an exception.
    """
    assert is_link_local(host) in {True, False}


@settings(database=None, deadline=None)
@given(address=st.ip_addresses(v=4))
def test_ipv4_address_is_judged_alike_however_it_is_spelled(address: ipaddress.IPv4Address) -> None:
    """
    A number, its hexadecimal spelling, a mapped and a NAT64 address are what the dotted one is.
    """
    number = int(address)
    spellings = [
        str(number), hex(number), f"0{number:o}", f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ]  # fmt: skip

    judged = {is_link_local(spelling) for spelling in spellings}

    assert judged == {is_link_local(str(address))}


def test_huge_host_is_judged_at_once() -> None:
    """
    A host of a megabyte, of digits or dots, costs no time.
    """
    started = time.process_time()

    judged = [is_link_local(character * 1_000_000) for character in "9.:a%0"]

    assert judged == [False] * 6
    assert time.process_time() - started < 1.0
