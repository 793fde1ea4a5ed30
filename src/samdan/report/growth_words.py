"""The words of the report's section on a grown base, in English and in Korean."""

from __future__ import annotations

from collections.abc import Mapping

from samdan.report.numbers import Both

GROWTH: Mapping[str, Both] = {
    "growth": ("The grown base", "키운 기본 모델"),
    "growth.depth": (
        "{kind}: {before} layers became {after}, {parameters_before} parameters became "
        "{parameters_after}.",
        "{kind}: 레이어 {before}개가 {after}개로, 파라미터 {parameters_before}개가 "
        "{parameters_after}개로 늘었습니다.",
    ),
    "growth.vocab": (
        "{new} new tokens; {before} rows of the vocabulary became {after}.",
        "새 토큰 {new}개; 어휘 행 {before}개가 {after}개로 늘었습니다.",
    ),
    "growth.how": (
        "Whether training healed what growing broke: bits per byte of held-out text, of the base "
        "as it came, of the grown model before it trained, and after each stage. Healed is what is "
        "not clearly worse than the base.",
        "모델을 키우며 망가진 것이 학습으로 회복되었는지: 홀드아웃 텍스트의 바이트당 비트를 원래 "
        "기본 모델, 학습 전의 키운 모델, 각 단계 뒤에 잰 값입니다. 기본 모델보다 뚜렷이 "
        "나쁘지 않으면 회복된 것입니다.",
    ),
    "growth.model": ("Model", "모델"),
    "growth.untrained": ("grown, not yet trained", "키운 직후, 학습 전"),
    "growth.value": ("Bits per byte", "바이트당 비트"),
    "growth.curve": (
        "Bits per byte of {name}, against tokens trained on",
        "{name}의 바이트당 비트, 학습한 토큰 수에 따라",
    ),
}
