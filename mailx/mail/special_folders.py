"""What mail programs call the folders that have a special use (RFC 6154), in many languages. Pure.

Servers and programs that do not say what a folder is for call it by one of these names, mostly in the language of whoever set
them up. Where a server says it, the server is believed and not the name.
"""

import unicodedata

_NAMES = {
    "\\Sent": (
        "Sent|Sent Items|Sent Messages|Sent Mail|Sent-Mail|Gesendet|Gesendete Elemente|Gesendete Objekte|Gesendete Nachrichten|"
        "Envoyés|Messages envoyés|Éléments envoyés|Enviados|Elementos enviados|Mensajes enviados|Itens enviados|Posta inviata|"
        "Inviati|Inviata|Verzonden|Verzonden items|Verzonden berichten|Skickat|Skickade|Skickade objekt|Sendte elementer|Sendt|"
        "Sendt post|Sendte|Lähetetyt|Lähetetyt viestit|Wysłane|Elementy wysłane|Odeslané|Odeslaná pošta|Odoslané|Elküldött|"
        "Elküldött elemek|Poslano|Poslané|Poslata pošta|Trimise|Elemente trimise|Изпратени|Отправленные|Надіслані|Отправлено|"
        "Απεσταλμένα|Gönderilmiş Öğeler|Gönderilmiş Postalar|Gönderilenler|Giden|送信済み|送信済みメール|送信済みアイテム|"
        "已发送|已发送邮件|已傳送|寄件備份|已发邮件|보낸 편지함|보낸메일함|Saadetud|Nosūtītie|Išsiųsti|Išsiųstieji|"
        "Elements enviats|Enviats|Bidalitakoak|Terkirim|Đã gửi|פריטים שנשלחו|נשלח|المرسلة|العناصر المرسلة"
    ),
    "\\Drafts": (
        "Drafts|Draft|Entwürfe|Entwurf|Brouillons|Brouillon|Borradores|Borrador|Rascunhos|Rascunho|Bozze|Bozza|Concepten|"
        "Concept|Utkast|Kladder|Luonnokset|Robocze|Kopie robocze|Wersje robocze|Szkice|Koncepty|Rozepsané|Piszkozatok|Skice|"
        "Osnutki|Nacrti|Ciorne|Чернови|Черновики|Чернетки|Πρόχειρα|Taslaklar|下書き|草稿|草稿箱|草稿匣|임시 보관함|임시보관함|"
        "Mustandid|Melnraksti|Juodraščiai|Esborranys|Zirriborroak|Draf|Konsep|Bản nháp|Thư nháp|טיוטות|المسودات"
    ),
    "\\Trash": (
        "Trash|Deleted|Deleted Items|Deleted Messages|Bin|Rubbish|Papierkorb|Gelöscht|Gelöschte Elemente|Gelöschte Objekte|"
        "Corbeille|Éléments supprimés|Papelera|Elementos eliminados|Lixeira|Lixo|Itens excluídos|Itens eliminados|Cestino|"
        "Posta eliminata|Elementi eliminati|Prullenbak|Prullenmand|Verwijderde items|Papperskorg|Papperskorgen|Borttaget|"
        "Papirkurv|Papirkurven|Slettede elementer|Søppel|Roskakori|Poistetut|Kosz|Elementy usunięte|Koš|Odstraněná pošta|Kôš|"
        "Odstránené položky|Kuka|Lomtár|Törölt elemek|Smeće|Koš za smeti|Otpad|Coș de gunoi|Elemente șterse|Кошче|Корзина|"
        "Удаленные|Удалённые|Кошик|Видалені|Κάδος απορριμμάτων|Διαγραμμένα|Çöp|Çöp Kutusu|Silinmiş Öğeler|ゴミ箱|ごみ箱|"
        "削除済みアイテム|已删除|已删除邮件|已刪除的郵件|垃圾桶|휴지통|지운 편지함|Prügikast|Miskaste|Atkritne|Šiukšliadėžė|"
        "Paperera|Zakarrontzia|Sampah|Tempat sampah|Thùng rác|אשפה|פריטים שנמחקו|المهملات|العناصر المحذوفة"
    ),
    "\\Junk": (
        "Junk|Junk E-mail|Junk Email|Junk Mail|Spam|Bulk Mail|Bulk|Unerwünscht|Unerwünschte Werbung|Junk-E-Mail|"
        "Courrier indésirable|Indésirables|Pourriel|Correo no deseado|Correo basura|No deseado|Lixo eletrônico|"
        "Lixo electrónico|Posta indesiderata|Indesiderata|Ongewenste e-mail|Ongewenst|Reclame|Skräppost|Skräp|Søppelpost|"
        "Uønsket e-post|Uønsket mail|Uønsket post|Roskaposti|Wiadomości-śmieci|Niechciane|Nevyžádaná pošta|Nevyžiadaná pošta|"
        "Levélszemét|Neželena pošta|Neželjena pošta|Mesaje nedorite|Нежелана поща|Спам|Нежелательная почта|Небажана пошта|"
        "Ανεπιθύμητα|Ανεπιθύμητη αλληλογραφία|Önemsiz|İstenmeyen|Gereksiz|迷惑メール|垃圾邮件|垃圾郵件|垃圾信件|스팸|"
        "스팸메일함|정크 메일|Rämpspost|Mēstules|Šlamštas|Correu brossa|Zabor-posta|Thư rác|זבל|דואר זבל|البريد المزعج|"
        "البريد غير الهام"
    ),
    "\\Archive": (
        "Archive|Archives|Archiv|Archiviert|Archivio|Archivo|Archivados|Arquivo|Arquivos|Archief|Arkiv|Arkisto|Archiwum|Archív|"
        "Archívum|Arhiv|Arhiva|Arhivă|Архив|Архів|Αρχείο|Αρχειοθήκη|Arşiv|アーカイブ|归档|存档|封存|보관함|Arhiiv|Arhīvs|"
        "Archyvas|Arxiu|Artxiboa|Arsip|Lưu trữ|ארכיון|الأرشيف"
    ),
}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").strip()


_USES = {_folded(name): use for use, names in _NAMES.items() for name in names.split("|")}


def special_use(name: str) -> str:
    """The special use that a folder of this name has; "" for none.

    ``name`` is a full path. Folders below others have none by their name, but for those directly under INBOX or under what
    Gmail calls its own.
    """
    levels = name.split("/")
    if len(levels) == 2 and _folded(levels[0]) in ("inbox", "[gmail]", "[google mail]"):
        levels = levels[1:]
    return _USES.get(_folded(levels[0]), "") if len(levels) == 1 else ""
