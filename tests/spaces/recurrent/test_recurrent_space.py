from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import torch

from archscout.errors import ArchitectureError, SpaceError
from archscout.exporting import export_network
from archscout.measure import measure
from archscout.methods.shared_weights.policy import DecoupledPolicy
from archscout.nn.recurrent.reference import reference_segment
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.spaces import (
    Node,
    RecurrentGenotype,
    RecurrentSpace,
    architecture_from_json,
    architecture_to_json,
    get_space,
)
from archscout.spaces.published.darts import format_published, parse_published, parse_published_genotype
from archscout.spaces.recurrent.genotype import edge_index
from archscout.tasks import TaskSpec, task_spec
from archscout.zoo import load_zoo

EIGHT = tuple(range(1, 9))
SPEC = TaskSpec("text", "language", (1,), 11)


def genotype(text: str, concat: tuple[int, ...] = EIGHT) -> RecurrentGenotype:
    pairs = [item.split("<-") for item in text.split()]
    return RecurrentGenotype(tuple(Node(name, int(source)) for name, source in pairs), concat)


def network_of(width: int = 6, seed: int = 0, **size: Any) -> Any:
    space = RecurrentSpace()
    torch.manual_seed(seed)
    return space.build(space.random(Random(seed)), SPEC, RecurrentSize.read({"width": width, **size}))


def test_parameter_counts_of_the_published_networks() -> None:
    space, spec = RecurrentSpace(), task_spec("ptb")
    with torch.device("meta"):
        supernet = space.supernet(spec, RecurrentSize.read({"width": 300}))
        mixture = space.mixture(spec, RecurrentSize.read({"width": 300}))
    assert sum(weight.numel() for weight in supernet.parameters()) == 4_810_000
    assert sum(weight.numel() for weight in mixture.parameters()) == 4_810_000


@pytest.mark.parametrize("name", ["ednas.ptb", "darts_v1.ptb", "darts_v2.ptb", "enas.ptb"])
def test_zoo_cells_have_the_published_sizes(name: str) -> None:
    entry, space, spec = load_zoo(name), RecurrentSpace(), task_spec("ptb")
    with torch.device("meta"):
        network = space.build(entry.architecture, spec, RecurrentSize.read({"width": 850}))  # type: ignore[arg-type]
    cost = measure(network, spec.input_shape, vocabulary=spec.vocabulary)
    assert cost.parameters == entry.recounted["ptb"].parameters
    assert cost.madds / 1e6 == pytest.approx(entry.recounted["ptb"].madds_millions, abs=0.05)
    if name != "enas.ptb":
        assert cost.parameters == 22_960_000


def test_the_published_cells() -> None:
    published = {
        "ednas.ptb": "identity<-0 tanh<-1 relu<-1 tanh<-2 relu<-4 relu<-3 sigmoid<-4 tanh<-7",
        "darts_v1.ptb": "relu<-0 relu<-1 tanh<-2 relu<-3 relu<-4 identity<-1 relu<-5 relu<-1",
        "darts_v2.ptb": "sigmoid<-0 relu<-1 relu<-1 identity<-1 tanh<-2 sigmoid<-5 tanh<-3 relu<-5",
    }
    for name, text in published.items():
        assert load_zoo(name).architecture == genotype(text)
    assert load_zoo("enas.ptb").architecture == genotype(
        "tanh<-0 tanh<-1 relu<-1 tanh<-3 tanh<-3 relu<-3 relu<-4 relu<-7 relu<-8 relu<-8 relu<-8", (2, 5, 6, 9, 10, 11)
    )


def test_policy_rows_and_draws() -> None:
    choices = RecurrentSpace().factorization
    assert sum(choices.structure) == 35
    assert sum(len(names) for names in choices.operations) == 144
    policy = DecoupledPolicy(choices, seed=0)
    assert len(policy.logits) == 179
    for seed in range(10):
        sample = policy.sample(Random(seed))
        assert len(sample.draws) == 15
        assert isinstance(sample.architecture, RecurrentGenotype)
        assert len(sample.architecture.nodes) == 8 and sample.architecture.nodes[0].source == 0
        assert policy.log_probability(sample) < 0
    assert edge_index(1, 0) == 0 and edge_index(2, 1) == 2 and edge_index(8, 7) == 35


def test_random_cells_and_mutations_stay_in_the_space() -> None:
    space = RecurrentSpace()
    cell = space.random(Random(0))
    for seed in range(40):
        other = space.mutate(cell, Random(seed))
        differences = sum(
            (one.activation != two.activation) + (one.source != two.source)
            for one, two in zip(cell.nodes, other.nodes, strict=True)
        )
        assert differences == 1
        cell = other
    with pytest.raises(ArchitectureError, match="11 nodes, but the space has 8"):
        space.factorization.disassemble(load_zoo("enas.ptb").architecture)  # type: ignore[arg-type]


def test_json_and_published_text_round_trip() -> None:
    cell = load_zoo("darts_v2.ptb").architecture
    assert architecture_from_json(architecture_to_json(cell)) == cell
    text = (
        "DARTS_V2 = Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), "
        "('sigmoid', 5), ('tanh', 3), ('relu', 5)], concat=range(1, 9))"
    )
    assert parse_published(text) == cell
    assert parse_published(format_published(cell)) == cell  # type: ignore[arg-type]
    with pytest.raises(ArchitectureError, match="recurrent cell"):
        parse_published_genotype(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nodes": [["tanh", 1]]}, "node 1: source 1 does not come before"),
        ({"nodes": [["tan", 0]]}, "unknown activation 'tan'. Closest: tanh"),
        ({"nodes": [["tanh", True]]}, "source True"),
        ({"nodes": [["tanh"]]}, "must be .activation, source."),
        ({"nodes": []}, "allowed: 1 to 100"),
        ({"nodes": "tanh"}, "must be a list"),
        ({"concat": [9]}, "node 9 does not exist"),
        ({"concat": []}, "at least one node"),
        ({"concat": [1, 1]}, "each once"),
        ({"extra": 1}, "has the fields"),
    ],
)
def test_wrong_genotypes_are_refused(change: dict[str, Any], says: str) -> None:
    content = {"format": "archscout.recurrent_genotype", "version": 1, "nodes": [["tanh", 0]], "concat": [1], **change}
    with pytest.raises(ArchitectureError, match=says):
        architecture_from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Genotype(recurrent=[('tanh', 0)])", "lacks the field concat"),
        ("Genotype(recurrent=[('tanh', 0)], concat=[1], normal=[])", "unknown field 'normal'"),
        ("Genotype(recurrent=[('tanh', 0, 1)], concat=[1])", "got 3 parts"),
        ("Genotype(recurrent=__import__('os'), concat=[1])", "not allowed"),
    ],
)
def test_wrong_published_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(ArchitectureError, match=says):
        parse_published(text)


def test_images_are_refused() -> None:
    with pytest.raises(SpaceError, match="serves language models"):
        get_space("recurrent").check(TaskSpec("digits", "classification", (1, 8, 8), 10))
    with pytest.raises(SpaceError, match="list spaces"):
        get_space("cells").check(SPEC)


def test_the_state_goes_on_where_a_segment_ends() -> None:
    network = network_of().eval()
    words = torch.randint(11, (2, 9))
    whole = network(words)
    first, hidden = network.step(words[:, :4], network.start(words))
    second, _ = network.step(words[:, 4:], hidden)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_dropouts_have_one_mask_for_a_segment() -> None:
    network = network_of(dropout_input=0.0, dropout_hidden=0.0, dropout_words=0.5, dropout_embedding=0.5)
    words = torch.randint(11, (3, 7))
    original = type(network).products

    torch.manual_seed(1)
    products = original(network, words)
    torch.manual_seed(1)
    kept_words = torch.empty(11).bernoulli_(0.5).div_(0.5)
    kept = torch.empty(1, 3, 6).bernoulli_(0.5).div_(0.5)
    expected = network.embedding[words.t()] * kept_words[words.t()].unsqueeze(-1) * kept
    torch.testing.assert_close(products, expected @ network.input_matrix[:6])
    network.eval()
    torch.testing.assert_close(original(network, words), network.embedding[words.t()] @ network.input_matrix[:6])


def test_training_outputs_are_those_of_the_equations_with_masks_and_penalties() -> None:
    network = network_of(dropout_embedding=0.0, dropout_input=0.0, activation_penalty=0.5, temporal_penalty=0.25)
    words = torch.randint(11, (3, 7))
    torch.manual_seed(1)
    deferred, hidden = network.unroll(words)
    torch.manual_seed(1)
    mask = torch.empty(3, 6).bernoulli_(0.75).div_(0.75)
    dropped = torch.empty(1, 3, 6).bernoulli_(0.25).div_(0.25)
    cell = network.genotype
    outputs = reference_segment(
        network.embedding[words.t()] @ network.input_matrix[:6],
        torch.zeros(3, 6),
        network.recurrent_matrix,
        network.node_matrices,
        cell.nodes,
        cell.concat,
        mask,
    )
    torch.testing.assert_close(deferred.features, outputs * dropped)
    torch.testing.assert_close(hidden, outputs[-1])
    penalty = 0.5 * (outputs * dropped).square().mean() + 0.25 * (outputs[1:] - outputs[:-1]).square().mean()
    torch.testing.assert_close(deferred.penalty, penalty)


def test_weights_start_in_the_published_range_and_the_decoder_is_tied() -> None:
    network = network_of(width=40)
    for weight in (network.embedding, network.input_matrix, network.node_matrices):
        assert 0.039 < float(weight.detach().abs().max()) <= 0.04
    assert not network.decoder_bias.any()
    assert network.unroll(torch.zeros(1, 1, dtype=torch.long))[0].weight is network.embedding


def test_a_step_and_a_segment_are_exported(tmp_path: Any) -> None:
    reports = export_network(network_of(width=4), (1,), tmp_path, formats=["torch"])
    assert [report.path.name for report in reports] == ["step.pt2", "segment.pt2"]
    assert all(report.ok for report in reports)
