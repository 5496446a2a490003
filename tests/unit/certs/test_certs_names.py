"""Who a certificate may speak for."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.core.errors import CertsError
from certs.core.names import AltName, Kind, alt_names, client_of, parse_alt_name
from certs.core.profile import CLIENTS, HOLDERS, Role
from certs.tls import Client, client_name
from wire.ids import is_name

pytestmark = pytest.mark.spec("U8")
hub_ids = st.text("abz09-", min_size=1, max_size=64)
labels = st.sampled_from(["a", "b-c", "xn--9", "0", "z" * 40])
hosts = st.builds(
    lambda parts, top: ".".join([*parts, "x" + top]), st.lists(labels, max_size=4), labels
)


@given(name=st.one_of(hub_ids, st.text(max_size=70)), role=st.sampled_from(sorted(CLIENTS)))
def test_a_client_is_named_by_the_grammar_of_hub_ids_and_by_nothing_else(
    name: str, role: Role
) -> None:
    if is_name(name):
        (only,) = alt_names(role, name)
        assert client_of(only.text) == (role, name)
    else:
        with pytest.raises(CertsError):
            alt_names(role, name)


@given(uri=st.one_of(st.text(max_size=90), hub_ids.map("urn:headgate:root:{}".format)))
def test_a_strangers_uri_names_nobody(uri: str) -> None:
    assert client_of(uri) is None


@given(name=hub_ids)
def test_a_client_whose_two_names_differ_is_nobody(name: str) -> None:
    told = {
        "subject": ((("commonName", name),),),
        "subjectAltName": (("URI", f"urn:headgate:hub:{name}"),),
    }
    assert client_name(told) == Client(Role.HUB, name)
    assert client_name(told | {"subject": ((("commonName", name + "x"),),)}) is None
    twice = ((("commonName", name),), (("commonName", "other"),))
    assert client_name(told | {"subject": twice}) is None
    uris = (("URI", f"urn:headgate:hub:{name}"), ("URI", "urn:headgate:hub:other"))
    assert client_name(told | {"subjectAltName": uris}) is None


@pytest.mark.parametrize("told", [None, {}])
def test_who_shows_no_certificate_is_nobody(told: object) -> None:
    assert client_name(told) is None


@given(
    dns=st.lists(hosts, max_size=5),
    ip=st.lists(st.ip_addresses().map(str), max_size=5),
)
def test_a_servers_names_are_canonical_sorted_and_each_there_once(
    dns: list[str], ip: list[str]
) -> None:
    found = alt_names(Role.SERVER, "door", dns, ip)
    assert found == tuple(sorted(set(found)))
    assert found == alt_names(Role.SERVER, "door", [d.upper() + "." for d in dns * 2], ip[::-1])
    wanted = {ipaddress.ip_address(each) for each in ip}
    assert {ipaddress.ip_address(a.text) for a in found if a.kind is Kind.IP} == wanted
    assert {a.text for a in found if a.kind is Kind.DNS} == set(dns or ([] if ip else ["door"]))


@given(role=st.sampled_from(HOLDERS), name=labels, dns=st.lists(hosts), ip=st.ip_addresses())
def test_a_name_is_read_as_it_was_written(
    role: Role, name: str, dns: list[str], ip: object
) -> None:
    for each in alt_names(role, "x" + name, dns[:8], [str(ip)]):
        assert parse_alt_name(str(each)) == each


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*.example.org",
        "a..b",
        "-a.org",
        "a-.org",
        "a b",
        "a_b",
        "192.0.2.1",
        "é.org",
        "x" * 64 + ".org",
        ".".join(["abcdefg"] * 32),
        "example.org\n",
        "a/b",
        "urn:headgate:hub:x",
    ],
)
def test_what_is_no_host_name_stands_in_no_certificate(host: str) -> None:
    with pytest.raises(CertsError):
        alt_names(Role.SERVER, "door", [host])


def test_the_longest_host_name_is_253_characters() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert alt_names(Role.SERVER, "door", [longest]) == (AltName(Kind.DNS, longest),)
    with pytest.raises(CertsError):
        alt_names(Role.SERVER, "door", [longest + "d"])


@pytest.mark.parametrize(
    "address", ["", "1.2.3", "1.2.3.4/8", "fe80::1%eth0", "localhost", "01.2.3.4"]
)
def test_what_is_no_address_stands_in_no_certificate(address: str) -> None:
    with pytest.raises(CertsError):
        alt_names(Role.SERVER, "door", [], [address])


def test_a_certificate_names_at_most_64() -> None:
    names = [f"h{number}.example.org" for number in range(65)]
    assert len(alt_names(Role.SERVER, "door", names[:64])) == 64
    with pytest.raises(CertsError):
        alt_names(Role.SERVER, "door", names)
