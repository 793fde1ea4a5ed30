"""The words of the report's section on votes, in English and in Korean."""

from __future__ import annotations

from collections.abc import Mapping

from samdan.report.numbers import Both

VOTES: Mapping[str, Both] = {
    "votes": ("People and judges", "사람과 평가 모델의 판정"),
    "votes.how": (
        "Blind, side by side. Brackets are exact 95% intervals of the share of decided pairs; "
        "equal and both bad decide nothing and count half in the win rate.",
        "모델을 가리고 나란히 비교했습니다. 대괄호는 결정된 쌍에서의 비율의 정확한 95% 구간이며, "
        "무승부와 '둘 다 나쁨'은 승률에만 절반으로 셉니다.",
    ),
    "votes.people": ("People: {votes} votes on {pairs} pairs ", "사람: {pairs}쌍에 {votes}표 "),
    "votes.judge": (" {votes} verdicts on {pairs} pairs", " {pairs}쌍에 판정 {votes}건"),
    "votes.match": ("Preferred", "비교"),
    "votes.over": ("{b} over {a}", "{a}보다 {b}"),
    "votes.share": ("Of decided pairs", "결정된 쌍 중"),
    "votes.won": ("Won", "승"),
    "votes.lost": ("Lost", "패"),
    "votes.ties": ("Equal", "무승부"),
    "votes.bad": ("Both bad", "둘 다 나쁨"),
    "votes.rate": ("Win rate", "승률"),
    "votes.equal_length": ("At equal length", "길이가 같다면"),
    "votes.model": ("Model", "모델"),
    "votes.points": ("Strength (Bradley-Terry points)", "실력(브래들리-테리 점수)"),
    "votes.agreement": (
        "Agreement between raters: {share} of couples of votes alike on {pairs} pairs, "
        "Krippendorff's alpha {alpha}.",
        "평가자 간 일치: {pairs}쌍에서 표 두 개씩의 {share}가 같음, 크리펜도르프 알파 {alpha}.",
    ),
    "votes.one_rater": (
        "Agreement between raters is unknown: no pair has two raters.",
        "평가자 간 일치는 알 수 없습니다. 두 사람이 본 쌍이 없습니다.",
    ),
    "votes.left_won": (
        "Position: the left answer won {share} of {n} decided votes (50%: no bias).",
        "위치: 결정된 {n}표 중 왼쪽 답이 이긴 비율 {share}(50%면 치우침 없음).",
    ),
    "votes.longer_won": (
        "Length: the longer answer won {share} of {n} decided votes.",
        "길이: 결정된 {n}표 중 더 긴 답이 이긴 비율 {share}.",
    ),
    "votes.orders": (
        "Asked in both orders on {n} pairs: {differ} verdicts differ, {turned} of them prefer the "
        "other answer.",
        "{n}쌍은 순서를 바꾸어 두 번 물음: 판정 {differ}건이 달라졌고, 그중 {turned}건은 반대 답을 "
        "골랐습니다.",
    ),
    "votes.with_people": (
        "Agreement with people: {share} of {pairs} verdicts alike, Cohen's kappa {kappa}.",
        "사람과의 일치: 판정 {pairs}건 중 {share}가 같음, 코헨 카파 {kappa}.",
    ),
    "votes.alone": (
        "Agreement with people is unknown: no pair was judged by both.",
        "사람과의 일치는 알 수 없습니다. 양쪽이 모두 판정한 쌍이 없습니다.",
    ),
    "votes.identical": (
        "{a} and {b}: {n} prompts have identical answers.",
        "{a}, {b}: 답이 같은 질문 {n}개.",
    ),
    "votes.other": (
        "Votes on earlier answers, not counted: {n}.",
        "이전 답에 대한 표라서 세지 않은 것: {n}.",
    ),
    # phases and averages
    "phase": ("Phase", "단계"),
    "phase.steps": ("Steps", "스텝"),
    "phase.share": ("Learning", "학습 비율"),
    "phase.loss": ("Loss", "손실"),
    "phase.end": ("Ended", "종료"),
    "phase.used": ("after its steps", "정해진 스텝 뒤"),
    "phase.converged": ("since the loss stood still", "손실이 멈춰서"),
    "average": ("Average", "평균"),
    "average.before": ("Last weights", "마지막 가중치"),
    "average.ema": (
        "The model is a moving average of the weights over {n} updates.",
        "모델은 갱신 {n}번에 걸친 가중치의 이동 평균입니다.",
    ),
    "average.last": (
        "The model is the mean of the weights after steps {steps}.",
        "모델은 {steps}스텝 뒤 가중치의 평균입니다.",
    ),
}
