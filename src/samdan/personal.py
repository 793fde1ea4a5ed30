"""What is done about personal data and secrets in a text, as a spec: masked, dropped with it, kept.

The work is done in ``data/personal.py``. To add a kind: name it in ``PersonalKind``, give it a
label and a finder there; a test holds that they agree.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import model_validator

from samdan.spec import Spec

PersonalKind = Literal[
    "resident_number",
    "foreigner_number",
    "business_number",
    "passport",
    "driver_license",
    "phone",
    "account",
    "card",
    "email",
    "address",
    "ip",
    "private_key",
    "api_key",
    "jwt",
    "password",
]
PERSONAL_KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)
Action = Literal["mask", "drop", "keep"]


class PersonalData(Spec):
    """Every kind is masked, ⟨전화번호⟩ or ⟨phone number⟩, unless it is named here."""

    keep: tuple[PersonalKind, ...] = ("business_number",)
    """Kinds that stay as they are. Business numbers are public: companies must print them."""
    drop: tuple[PersonalKind, ...] = ()
    """Kinds whose presence drops the whole document."""

    @model_validator(mode="after")
    def _one_action(self) -> PersonalData:
        if both := sorted(set(self.keep) & set(self.drop)):
            raise ValueError(f"'{both[0]}' is in both 'keep' and 'drop'")
        return self

    def action(self, kind: PersonalKind) -> Action:
        """What happens to a finding of this kind."""
        if kind in self.keep:
            return "keep"
        return "drop" if kind in self.drop else "mask"
