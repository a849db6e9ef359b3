"""The modules that a meter follows: which they are, and the records that have come from each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise._kinds._known import rules_of
from forescale.noise._site import Site, is_followed

if TYPE_CHECKING:
    from forescale.noise._meter import Meter

WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}  # torch's names of what they wrap
Arrived = Callable[["Layer"], None]


class Layer:
    """A module's own parameters, or a tied pair's, with their sites; one without sites is sampled by backward passes."""

    def __init__(self, name: str, parameters: Sequence[nn.Parameter], sites: Sequence[Site]) -> None:
        self.name, self.sites = name, tuple(sites)
        self.parameters = [p for p in parameters if p.requires_grad]
        self.kind = sites[0].kind if sites else "sampled"
        self.active = True
        self.slots = [slot for site in sites for slot in site.slots]
        self.records: list[list[Tensor]] = [[] for _ in self.slots or self.parameters]
        self.head: Site | None = None  # counts the positions that have a loss; of this layer or of none
        self.counts: list[Tensor] = []
        self._handles: list[Any] = []

    @property
    def sampled(self) -> bool:
        """Whether only whole backward passes are measured."""
        return not self.sites

    @property
    def follows(self) -> bool:
        """Whether its modules' methods are replaced in this step."""
        return self.active and not self.sampled

    def follow(self, arrived: Arrived) -> None:
        """Replace the methods and collect what comes back."""
        for site in self._replaced():
            site.replace()
        if self.head is not None:
            self._collect(self.head.count_positions(), self.counts, arrived)
        for slot, records in zip(self.slots, self.records, strict=False):
            self._collect(slot, records, arrived)
        if self.sampled:
            for parameter, records in zip(self.parameters, self.records, strict=True):
                self._sample(parameter, records, arrived)

    def _collect(self, slot: Any, records: list[Tensor], arrived: Arrived) -> None:
        def take(slot: Any) -> None:
            arrived(self)
            records.append(slot.grad)
            slot.grad = None

        self._handles.append(slot.register_post_accumulate_grad_hook(take))

    def _sample(self, parameter: Any, records: list[Tensor], arrived: Arrived) -> None:
        def take(grad: Tensor) -> None:
            arrived(self)
            records.append(grad.detach().double().square().sum())

        self._handles.append(parameter.register_hook(take))

    def activate(self, active: bool) -> None:
        """Measure in the next step, or leave the modules to themselves."""
        self.active = active
        for site in self.sites:
            site.active = active

    def has_gradient(self) -> bool:
        """Whether a backward pass has left one."""
        return any(parameter.grad is not None for parameter in self.parameters)

    def forget(self) -> None:
        """Drop every record."""
        for records in (*self.records, self.counts):
            records.clear()

    def restore(self) -> None:
        """Undo `follow`."""
        for handle in self._handles:
            handle.remove()
        for site in self._replaced():
            site.restore()

    def _replaced(self) -> set[Site]:
        return {*self.sites} if self.head is None else {*self.sites, self.head}


def find_layers(meter: Meter, model: nn.Module, wanted: str | Iterable[str], unknown: str) -> list[Layer]:
    """The layers to follow. Raises `ForescaleError` where one cannot be followed, or none is there."""
    chosen = _chooser(wanted)
    if any(is_followed(module) for module in model.modules()):
        raise ForescaleError("another noise meter follows this model: close() that one first.")
    sites: list[Site] = []
    strange: dict[str, nn.Module] = {}
    for name, module in named_modules(model):
        if not any(p.requires_grad for p in module.parameters(recurse=False)) or not chosen(name):
            continue
        rules = rules_of(module)
        if rules is None:
            strange[name] = module
            continue
        made = [Site(meter, name, module, method, rule) for method, rule in rules.items()]
        sites += [site for site in made if wanted != "norm" or site.kind == "norm"]
    if strange and wanted != "norm" and unknown == "error":
        raise ForescaleError(
            "a noise meter cannot follow the parameters of "
            + ", ".join(f"{name or 'the model'} ({type(module).__name__})" for name, module in strange.items())
            + ': leave them out by `layers` or unknown="skip", or have them measured a backward pass at a time by '
            'unknown="sampled".'
        )
    layers = _joined(sites)
    if unknown == "sampled" and wanted != "norm":
        layers += [Layer(name, list(module.parameters(recurse=False)), ()) for name, module in strange.items()]
    if not layers:
        raise ForescaleError(f"a noise meter found no trainable layers to follow; layers is {wanted!r}: name others.")
    if (head := _head(model)) is not None:
        _count_at(meter, *head, layers)
    return layers


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules by the names that they have without wrappers."""
    hidden = WRAPPERS | (
        {"module"} if type(model).__name__ in ("DistributedDataParallel", "DataParallel") else set[str]()
    )
    whole: Any = model
    modules = whole.named_modules()
    for name, module in modules:
        yield ".".join(part for part in name.split(".") if part not in hidden), module


def _chooser(wanted: str | Iterable[str]) -> Callable[[str], bool]:
    if wanted in ("all", "norm"):
        return lambda _: True
    if isinstance(wanted, str):
        raise ForescaleError(f'layers must be "all", "norm" or names of modules; got {wanted!r}: give a list of names.')
    patterns = list(wanted)
    return lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)


def _joined(sites: Sequence[Site]) -> list[Layer]:
    """Sites of one module, and tied pairs, make one layer."""
    by_parameter: dict[int, list[Site]] = {}
    for site in sites:
        for parameter in site.module.parameters(recurse=False):
            by_parameter.setdefault(id(parameter), []).append(site)
    groups: list[list[Site]] = []
    for site in sites:
        if any(site in group for group in groups):
            continue
        group = list({id(s): s for p in site.module.parameters(recurse=False) for s in by_parameter[id(p)]}.values())
        _tie(group)
        groups.append(group)
    return [_layer(group) for group in groups]


def _tie(group: Sequence[Site]) -> None:
    """Let a tied embedding and head know of each other; the squared norm of their sum has a cross term."""
    if len(group) == 1:
        return
    tables = [site for site in group if site.rule == "embedding"]
    heads = [site for site in group if site.rule == "linear" and not site.transposed]
    if len(group) > 2 or len(tables) != 1 or len(heads) != 1:
        raise ForescaleError(
            f"parameters are shared between {', '.join(site.name for site in group)}; a noise meter knows the cross term of "
            "an embedding and a head alone: leave them out by `layers`."
        )
    tables[0].head, heads[0].table = heads[0], tables[0]


def _layer(group: Sequence[Site]) -> Layer:
    parameters = {id(p): p for site in group for p in site.module.parameters(recurse=False)}
    return Layer(" + ".join(dict.fromkeys(site.name for site in group)), list(parameters.values()), group)


def _head(model: nn.Module) -> tuple[str, nn.Module, str] | None:
    """The linear layer that the loss is of: the model says it, or it is tied to a table, or the last; and its method."""
    ask: Any = getattr(model, "get_output_embeddings", lambda: None)
    stated = ask()
    rules = [
        (*named, method, rule) for named in named_modules(model) for method, rule in (rules_of(named[1]) or {}).items()
    ]
    tables = {id(module.weight) for _, module, _, rule in rules if rule == "embedding"}
    linear = [(name, module, method) for name, module, method, rule in rules if rule == "linear"]
    own = [each for each in linear if each[1] is stated or (stated is None and id(each[1].weight) in tables)]
    return next(iter(own or linear[-1:]), None)


def _count_at(meter: Meter, name: str, head: nn.Module, method: str, layers: Sequence[Layer]) -> None:
    """Let the head count positions, whether it is followed or not."""
    for layer in layers:
        for site in layer.sites:
            if site.module is head and site.method == method:
                layer.head = site
                return
    layers[0].head = Site(meter, name, head, method, "linear")
    layers[0].head.active = False
