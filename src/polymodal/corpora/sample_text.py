"""Korean sentences for the sample: verdicts show valence, times and topics do not."""

import numpy as np

TIMES = [
    "오늘 아침에",
    "어제저녁에",
    "지난주에",
    "방금",
    "점심때",
    "주말에",
    "며칠 전에",
    "퇴근길에",
    "밤늦게",
    "오후에",
    "월요일에",
    "얼마 전에",
]
TOPICS = [
    "동생이 보낸 편지는",
    "새로 나온 책은",
    "회사에서 받은 소식은",
    "친구와 본 영화는",
    "이웃이 만든 음식은",
    "학교에서 들은 이야기는",
    "가족과 간 여행은",
    "시장에서 산 물건은",
    "선생님의 대답은",
    "동네 축제는",
    "기다리던 전화는",
    "창밖의 풍경은",
    "회의 결과는",
    "누나의 공연은",
    "아침 산책은",
    "도서관에서 한 일은",
]
GOOD = [
    "정말 마음에 들었어요",
    "참 반갑고 고마웠어요",
    "생각보다 훌륭했어요",
    "무척 즐거웠어요",
    "아주 따뜻했어요",
    "기대한 만큼 좋았어요",
    "모두를 웃게 했어요",
    "큰 힘이 되었어요",
    "매우 만족스러웠어요",
    "참 아름다웠어요",
    "큰 선물 같았어요",
    "더없이 행복한 시간이었어요",
    "자랑스럽기만 했어요",
    "믿음직하고 든든했어요",
]
BAD = [
    "너무 실망스러웠어요",
    "정말 마음에 안 들었어요",
    "참 속상하고 괴로웠어요",
    "생각보다 형편없었어요",
    "무척 불쾌했어요",
    "아주 답답했어요",
    "기대와 달리 나빴어요",
    "모두를 힘들게 했어요",
    "큰 상처가 되었어요",
    "매우 불만스러웠어요",
    "참 끔찍했어요",
    "견디기 어려운 시간이었어요",
    "원망스럽기만 했어요",
    "못 미덥고 불안했어요",
]


def synth_text(rng: np.random.Generator, *, positive: bool) -> str:
    """Draw a sentence."""
    time = TIMES[rng.integers(len(TIMES))]
    topic = TOPICS[rng.integers(len(TOPICS))]
    verdicts = GOOD if positive else BAD
    return f"{time} {topic} {verdicts[rng.integers(len(verdicts))]}."
